/* Votes, the log, and the disk witness: who may lead, what is committed, who owns a generation.

   Law: every step is one event of the protocol, in any order and after any delay. There is no clock: leases, sticky
   voters, pre-vote and the challenger's wait only forbid orders that are allowed here, so nothing below rests on
   them. What a LUN does once its owner is known is in takeover.pml.

   Bounds: NODES (2 with the witness, or 3 without: three votes, quorum 2), TERMS (<= 4; entries of the first three),
   LOG (<= 4 entries); crashes without a bound.
   The bad variants are macros; check.py says which, docs/model.md what came of them. */

#ifndef NODES
#define NODES 2
#endif
#ifndef WITNESS
#define WITNESS 1
#endif
#if NODES + WITNESS != 3
#error "this model has three votes: a quorum is one's own and one more"
#endif
#ifndef TERMS
#define TERMS 3
#endif
#ifndef LOG
#define LOG 2
#endif

#define FOLLOWER 0
#define CANDIDATE 1
#define LEADER 2

/* Where a node stands with the witness. */
#define IDLE 0
#define LOOKING 1  /* registered: READ KEYS and READ RESERVATION come next */
#define TAKING 2   /* knows whom to preempt, or that nobody holds it */
#define READING 3  /* holds it and has not read it */
#define HELD 4

/* A log is one number: entry k is the term in bits 2k-2 and 2k-1. Entry k assigns generation k to the leader of its
   term, so a generation has one owner exactly if an index has one committed entry. */
#define LENGTH(l) ((l) == 0 -> 0 : ((l) < 4 -> 1 : ((l) < 16 -> 2 : ((l) < 64 -> 3 : 4))))
#define LAST(l) ((l) < 4 -> (l) : ((l) < 16 -> (l) >> 2 : ((l) < 64 -> (l) >> 4 : (l) >> 6)))
#define ENTRY(l, k) (((l) >> (2 * (k) - 2)) & 3)
#define PREFIX(l, k) ((l) & ((1 << (2 * (k))) - 1))
#define AS_NEW(a, b) (LAST(a) > LAST(b) || (LAST(a) == LAST(b) && LENGTH(a) >= LENGTH(b)))

/* Saved state of the nodes; index 0 is nobody. */
byte term[NODES + 1], vote[NODES + 1], log[NODES + 1];
/* What a crash forgets. */
byte role[NODES + 1], at[NODES + 1], saw[NODES + 1];
/* The witness as its holder read or wrote it. */
byte known_term[NODES + 1], known_vote[NODES + 1], known_log[NODES + 1];
byte write_term[NODES + 1], write_log[NODES + 1]; /* a write to the witness under way; term 0: none */
/* The witness: its content, and its LUN's registrations and reservation (type 5). */
byte w_term, w_vote, w_log, w_holder;
bool w_key[NODES + 1];
/* The network: what the leader of a term has sent. Any prefix may arrive, late, twice or never. */
byte sent[TERMS + 1];
bool begun;
/* Known to nobody but the assertions. */
byte leader_of[TERMS + 1], committed, owner_of[LOG + 1];
bool one_leader_a_term = true, committed_entries_survive = true, one_owner_a_generation = true, not_reached = true;

inline forget_witness(n) {
  at[n] = IDLE; saw[n] = 0;
  known_term[n] = 0; known_vote[n] = 0; known_log[n] = 0;
  write_term[n] = 0; write_log[n] = 0
}

/* Every owner in a log acts on its assignment. */
inline act(l) {
  j = 1;
  do
  :: j <= LENGTH(l) ->
    one_owner_a_generation = (owner_of[j] == 0 || owner_of[j] == leader_of[ENTRY(l, j)]);
    assert(one_owner_a_generation);
    owner_of[j] = leader_of[ENTRY(l, j)];
    j++
  :: else -> break
  od;
  j = 0
}

inline see_term(n, t) {
  if
  :: t > term[n] ->
    term[n] = t; vote[n] = 0;
    if
    :: role[n] == LEADER -> forget_witness(n) /* a leader that resigns gives the witness up */
    :: else
    fi;
    role[n] = FOLLOWER
  :: else
  fi
}

/* A second vote for a candidate: with its own that is a quorum. */
inline elect(n) {
  one_leader_a_term = (leader_of[term[n]] == 0 || leader_of[term[n]] == n);
  assert(one_leader_a_term);
  committed_entries_survive = (PREFIX(log[n], LENGTH(committed)) == committed);
  assert(committed_entries_survive);
#ifdef REACH_LAST_TERM
  not_reached = (term[n] < TERMS || LENGTH(committed) < LOG);
  assert(not_reached);
#endif
  role[n] = LEADER;
  leader_of[term[n]] = n;
  sent[term[n]] = log[n]
}

/* A second copy of a log, acknowledged in term t: with the leader's that is a quorum. */
inline acknowledge(t, copy) {
  if
#ifdef COMMIT_OLD_TERMS
  :: copy != 0 ->
#else
  :: copy != 0 && LAST(copy) == t -> /* Raft 5.4.2: only entries of the leader's own term are counted */
#endif
    if
    :: LENGTH(copy) <= LENGTH(committed) -> committed_entries_survive = (PREFIX(committed, LENGTH(copy)) == copy)
    :: else -> committed_entries_survive = (PREFIX(copy, LENGTH(committed)) == committed); committed = copy
    fi;
    act(committed);
    assert(committed_entries_survive)
  :: else
  fi
}

inline read_witness(n) {
  known_term[n] = w_term; known_vote[n] = w_vote; known_log[n] = w_log
}

/* The array carries out the write under way: from any registrant, and from anybody while there is no holder. */
inline carry_out(n) {
  if
  :: w_holder == 0 || w_key[n] ->
    w_term = write_term[n]; w_vote = n; w_log = write_log[n];
    read_witness(n);
    if
    :: term[n] == w_term && role[n] == CANDIDATE ->
#ifdef REACH_WITNESS_DECIDES
      not_reached = (term[n] < TERMS || LENGTH(committed) < LOG || ENTRY(committed, LOG) == 1);
      assert(not_reached);
#endif
      elect(n)
    :: else
    fi;
    if
    :: term[n] == w_term && role[n] == LEADER -> acknowledge(w_term, w_log)
    :: else
    fi;
    write_term[n] = 0; write_log[n] = 0
  :: else -> forget_witness(n) /* RESERVATION CONFLICT */
  fi
}

active [NODES] proctype Node() {
  byte n = _pid + 1, m, k, j;
  do
  /* --- elections ------------------------------------------------------------------------------------------- */
  :: atomic { role[n] != LEADER && term[n] < TERMS && (n == 1 || begun) -> /* nodes are alike: 1 is first */
    begun = true;
    term[n]++; vote[n] = n; role[n] = CANDIDATE }
  :: atomic { select (m : 1 .. NODES);
    if
    :: m != n && role[m] == CANDIDATE && term[m] >= term[n] ->
      see_term(n, term[m]);
      if
#ifdef VOTE_WITHOUT_LOG_CHECK
      :: vote[n] == 0 || vote[n] == m ->
#else
      :: (vote[n] == 0 || vote[n] == m) && AS_NEW(log[m], log[n]) ->
#endif
        vote[n] = m; elect(m)
      :: else
      fi
    :: m != n -> see_term(n, term[m])
    :: else
    fi; m = 0 }
  /* --- the log --------------------------------------------------------------------------------------------- */
  :: atomic { role[n] == LEADER && LENGTH(log[n]) < LOG && term[n] < 4 ->
    log[n] = log[n] | (term[n] << (2 * LENGTH(log[n]))); sent[term[n]] = log[n];
#ifdef ACT_BEFORE_COMMIT
    act(log[n])
#endif
  }
  :: atomic { select (m : 1 .. TERMS);
    if
    :: m >= term[n] && sent[m] != 0 && leader_of[m] != n ->
      see_term(n, m); role[n] = FOLLOWER;
      select (k : 1 .. LENGTH(sent[m]));
      if
      :: PREFIX(log[n], k) != PREFIX(sent[m], k) -> log[n] = PREFIX(sent[m], k)
      :: else
      fi;
      acknowledge(m, PREFIX(sent[m], k))
    :: else
    fi; m = 0; k = 0 }
  /* --- crash and restart: sessions end, so what was on its way to the array has arrived or never will ------- */
  :: atomic { true ->
    role[n] = FOLLOWER; forget_witness(n);
#ifdef VOTE_NOT_SAVED
    vote[n] = 0
#endif
  }
#if WITNESS
  /* --- arbitration: register, look, take by naming the holder, look again, read ----------------------------- */
  :: atomic { at[n] == IDLE && role[n] != CANDIDATE -> w_key[n] = true; at[n] = LOOKING;
#ifdef READ_BEFORE_HELD
    read_witness(n)
#endif
  }
  :: atomic { at[n] == LOOKING ->
    if
    :: !w_key[n] -> forget_witness(n) /* its owner defended */
    :: w_key[n] && w_holder == n -> at[n] = READING; saw[n] = 0
    :: else -> saw[n] = w_holder; at[n] = TAKING
    fi }
  :: atomic { at[n] == TAKING ->
    if
    :: w_key[n] && saw[n] == w_holder ->
 /* RESERVE, or PREEMPT naming the key that was seen */
      if
      :: saw[n] != 0 -> w_key[saw[n]] = false
      :: else
      fi;
      w_holder = n
    :: else /* RESERVATION CONFLICT */
    fi;
    saw[n] = 0;
#ifdef CONFLICT_IS_GOOD
    at[n] = READING
#else
    at[n] = LOOKING
#endif
  }
  :: atomic { at[n] == READING ->
#ifndef READ_BEFORE_HELD
    read_witness(n);
#endif
    if
    :: role[n] == CANDIDATE -> forget_witness(n) /* it stood before it knew the witness's log */
    :: else ->
      see_term(n, known_term[n]);
      if
      :: at[n] == IDLE /* it led, and resigned over this */
#ifdef WITNESS_WITHOUT_LOG
      :: false
#else
      :: role[n] == FOLLOWER && at[n] == READING && !AS_NEW(log[n], known_log[n]) ->
        log[n] = known_log[n]; at[n] = HELD /* the newer database */
#endif
      :: else -> at[n] = HELD
      fi
    fi }
  /* --- holding it: vote, write, defend, give up ------------------------------------------------------------- */
  :: atomic { at[n] == HELD && role[n] == CANDIDATE && write_term[n] == 0 &&
      (known_term[n] < term[n] || (known_term[n] == term[n] && known_vote[n] == n)) ->
    write_term[n] = term[n]; write_log[n] = known_log[n] }
  :: atomic { at[n] == HELD && role[n] == LEADER && write_term[n] == 0 && known_term[n] <= term[n] &&
      (known_term[n] != term[n] || known_log[n] != log[n]) ->
    write_term[n] = term[n]; write_log[n] = log[n] }
  :: atomic { write_term[n] != 0 -> carry_out(n) }
  :: at[n] == HELD -> atomic { forget_witness(n) } /* UNKNOWN, or given up: it is to be held anew, and read */
  :: atomic { at[n] == HELD && w_holder != n -> forget_witness(n) } /* a look finds another holder */
  :: atomic { at[n] == HELD && w_holder == n && w_key[n] ->
    select (m : 1 .. NODES);
    if
    :: m != n -> w_key[m] = false /* a challenger loses its registration */
    :: else
    fi; m = 0 }
#ifdef WITNESS_RELEASED
  :: atomic { at[n] == HELD && write_term[n] == 0 ->
    w_key[n] = false;
    if
    :: w_holder == n -> w_holder = 0
    :: else
    fi;
    forget_witness(n) }
#endif
#endif
  od
}
