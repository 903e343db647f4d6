"""Consensus: Raft (Ongaro and Ousterhout 2014) with pre-vote, and with the witness as a voter without a CPU.

Law: terms, votes, the log and what is committed. What the entries mean is the database's business.
"""
