"""`hvc completion`: what a shell reads so that it can complete commands.

Law: prints a script and changes nothing; whoever wants it evaluates it.
"""

from __future__ import annotations

import click

from hvcluster.orchestrator.errors import Exit, Failure

SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print what makes SHELL complete commands, cmdlets and options of hvc.

    \b
    eval "$(hvc completion bash)"                  in ~/.bashrc
    eval "$(hvc completion zsh)"                   in ~/.zshrc
    hvc completion fish | source                   in ~/.config/fish/config.fish
    """
    from click.shell_completion import get_completion_class

    from . import cli

    kind = get_completion_class(shell)
    assert kind is not None, "every shell of the choice has one"
    try:
        click.echo(kind(cli, {}, "hvc", "_HVC_COMPLETE").source())
    except RuntimeError as error:
        raise Failure(Exit.FAILED, f"completion for {shell}: {error}", "bash 4.4 or newer is needed") from None
