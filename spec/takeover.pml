/* One LUN with its persistent reservation, and the nodes that take it over: who may write.

   Law: every step is one SCSI command or one event, in any order and after any delay; a node that makes no step for a
   while is a frozen one. What the cluster database guarantees, one owner for each generation, is taken from quorum.pml;
   who the owners are, and when a node learns of it, is left open.

   Bounds: NODES, PATHS from each node to the array (1 or 2), GENERATIONS <= 4; crashes, moves and answers that never
   come without a bound. The bad variants are macros; check.py says which, docs/model.md what came of them. */

#ifndef NODES
#define NODES 3
#endif
#ifndef PATHS
#define PATHS 1
#endif
#ifndef GENERATIONS
#define GENERATIONS 3
#endif
#define PORTS (NODES * PATHS)

/* The steps of DESIGN section 4; each name says what comes next. */
#define IDLE 0
#define TERMINATE 1
#define REGISTER 2
#define READ_KEYS 3
#define READ_RESERVATION 4
#define TAKE 5
#define PREEMPT_OTHERS 6
#define READ_FULL_STATUS 7
#define START_VM 8

#define BIT(k) (1 << (k))
#define PORT(n, p) ((n) * PATHS + (p)) /* one I_T nexus */
#define FIRST(n) PORT(n, 0)
#define SECOND(n) PORT(n, PATHS - 1)
/* The nexus a procedure uses: the first one that is registered under its key. */
#define VIA(n) (key[FIRST(n)] == mine[n] -> FIRST(n) : SECOND(n))
#define HOLDS(n) (held && (holder == FIRST(n) || holder == SECOND(n)))

/* The LUN. A key is the generation it was made for; 0 is none. Reservation type 5: any registrant may write. */
byte key[PORTS], holder;
bool held;
/* Writes on their way to the array, by nexus: the generation of the VM that sent it; 0 is none. */
byte write[PORTS];
/* The cluster database: the newest generation, and the owner of each. */
byte newest, owner[GENERATIONS + 1];
/* The nodes: next step, generation being brought online, what was read, the VM that runs, what may not run again. */
byte step[NODES], mine[NODES], keys[NODES], seen[NODES], vm[NODES], ran[NODES];
/* Known to nobody but the assertions: the newest generation that was alone on the LUN (step 5). */
byte fence;
bool one_writer = true, one_owner = true, not_reached = true;

/* PREEMPT: remove every registration of a key; the reservation comes along if that was the holder's. */
inline preempt(victim) {
  good = false;
  if
  :: key[x] == mine[n] ->
    i = 0;
    if
    :: held && key[holder] == victim -> holder = x; good = true
    :: else
    fi;
    do
    :: i < PORTS ->
      if
      :: key[i] == victim && i != x -> key[i] = 0; good = true
      :: else
      fi; i++
    :: else -> break
    od;
    i = 0
  :: else /* our own registration is gone */
  fi
}

inline unregister() {
  key[x] = 0;
  if
  :: held && holder == x -> held = false; holder = 0 /* SPC-4: a holder that unregisters releases */
  :: else
  fi
}

inline unregister_all(n) {
  x = FIRST(n); unregister();
#if PATHS == 2
  x = SECOND(n); unregister();
#endif
  x = 0
}

inline stop_procedure(n) {
  step[n] = IDLE; mine[n] = 0; keys[n] = 0; seen[n] = 0
}

/* REGISTER AND IGNORE EXISTING KEY on one path. A path is in order: a write that went before has arrived, or the path
   does not answer, or it has logged in anew and the array dropped the write. */
inline register() {
  if
  :: write[x] == 0 -> key[x] = mine[n]
  :: true /* no answer on this path */
  fi
}

inline carry_out() {
  if
  :: !held || key[x] != 0 ->
    one_writer = (write[x] == fence);
    assert(one_writer)
  :: else -> /* RESERVATION CONFLICT: the VM, if it still runs, turns itself off */
#ifdef REACH_LATE_WRITE_REFUSED
    not_reached = !(fence == GENERATIONS && vm[owner[fence]] == fence && write[x] == fence - 1 && vm[n] == write[x]);
    assert(not_reached);
#endif
    if
    :: vm[n] == write[x] -> vm[n] = 0
    :: else
    fi
  fi;
  write[x] = 0
}

inline send_and_lose() {
  if
  :: vm[n] != 0 && write[x] == 0 -> write[x] = vm[n]
  :: write[x] != 0 -> carry_out()
  :: write[x] != 0 -> write[x] = 0 /* dropped by the array at the next login */
  :: else
  fi
}

active [NODES] proctype Node() {
  byte n = _pid, i, x;
  bool good;
  do
  /* --- the VM, and the end of it ------------------------------------------------------------------------------ */
  :: atomic { x = FIRST(n); send_and_lose(); x = 0 }
#if PATHS == 2
  :: atomic { x = SECOND(n); send_and_lose(); x = 0 }
#endif
  :: atomic { vm[n] != 0 -> /* a planned move, or it learns of a newer generation: it turns the VM off */
#ifdef RELEASED_ON_MOVE
    unregister_all(n);
#endif
    vm[n] = 0 }
  :: atomic { step[n] != IDLE || vm[n] != 0 -> /* crash: a restarted node runs what is assigned from now on */
    stop_procedure(n); vm[n] = 0;
#ifndef GENERATION_RUN_TWICE
    ran[n] = newest
#else
    ran[n] = newest - 1
#endif
  }
  /* --- the database assigns a generation: to whom, and when, is anybody's guess -------------------------------- */
  :: atomic { newest < GENERATIONS -> newest++; owner[newest] = n }
  /* --- a node learns that a generation is its own --------------------------------------------------------------- */
  :: atomic { step[n] == IDLE && ran[n] < newest -> select (i : ran[n] + 1 .. newest);
    if
    :: owner[i] == n -> mine[n] = i; ran[n] = i; step[n] = TERMINATE
    :: else
    fi; i = 0 }
  :: atomic { step[n] == TERMINATE ->
#ifndef REGISTERED_BEFORE_TERMINATED
    vm[n] = 0;
#endif
    step[n] = REGISTER }
  :: atomic { step[n] == REGISTER ->
    x = FIRST(n); register();
#if PATHS == 2
    x = SECOND(n); register();
#endif
    x = 0; step[n] = READ_KEYS }
  :: atomic { step[n] == READ_KEYS ->
    i = 0; keys[n] = 0;
    do
    :: i < PORTS -> keys[n] = keys[n] | BIT(key[i]); i++
    :: else -> break
    od;
    i = 0; keys[n] = keys[n] & ~1;
    if
#ifndef NO_LOOK_AT_GENERATIONS
    :: (keys[n] >> (mine[n] + 1)) != 0 -> /* superseded */
#ifndef HOLDER_UNREGISTERS
      if
      :: !HOLDS(n) -> unregister_all(n)
      :: else
      fi;
#else
      unregister_all(n);
#endif
      stop_procedure(n)
#endif
    :: (keys[n] & BIT(mine[n])) == 0 -> keys[n] = 0; step[n] = REGISTER
    :: else -> step[n] = READ_RESERVATION
    fi }
  :: atomic { step[n] == READ_RESERVATION ->
    seen[n] = (held -> key[holder] : 0); step[n] = TAKE }
  :: atomic { step[n] == TAKE ->
    good = false; x = VIA(n);
    if
    :: seen[n] == 0 -> /* RESERVE */
      if
      :: key[x] == mine[n] && !held -> held = true; holder = x; good = true
      :: else
      fi
    :: seen[n] == mine[n] -> good = true
    :: seen[n] != 0 && seen[n] != mine[n] ->
      if
#ifdef PREEMPT_NAMES_WHOEVER_HOLDS
      :: held && key[x] == mine[n] && key[holder] != mine[n] -> seen[n] = key[holder]; preempt(seen[n])
      :: else
#elif defined(CLEAR_NAMES_NOBODY)
      :: key[x] == mine[n] -> /* CLEAR removes reservation and registrations, whosever they are */
        held = false; holder = 0;
        do
        :: i < PORTS -> key[i] = 0; i++
        :: else -> break
        od;
        i = 0
      :: else
#else
      :: preempt(seen[n])
#endif
      :: true /* UNKNOWN: it was not carried out. (If it was, whoever looks again finds out.) */
#ifdef UNKNOWN_IS_GOOD
        ; good = true
#endif
      fi
    fi;
    keys[n] = keys[n] & ~(BIT(mine[n]) | BIT(seen[n])); seen[n] = 0;
    if
    :: good -> step[n] = PREEMPT_OTHERS
    :: else -> step[n] = READ_KEYS; keys[n] = 0 /* somebody else made progress, or nobody knows: look again */
    fi;
    good = false; x = 0 }
  :: atomic { step[n] == PREEMPT_OTHERS ->
#ifdef NO_STEP_5
    keys[n] = 0;
#endif
    i = 1;
    do
    :: i <= GENERATIONS && (keys[n] & BIT(i)) == 0 -> i++
    :: else -> break
    od;
    if
    :: i > GENERATIONS -> step[n] = READ_FULL_STATUS
    :: else ->
      keys[n] = keys[n] & ~BIT(i); seen[n] = i; x = VIA(n);
      preempt(seen[n]); seen[n] = 0;
      if
      :: good
      :: else -> step[n] = READ_KEYS; keys[n] = 0
      fi
    fi; i = 0; x = 0; good = false }
  :: atomic { step[n] == READ_FULL_STATUS ->
    good = HOLDS(n) && key[holder] == mine[n];
#if !defined(UNKNOWN_IS_GOOD) && !defined(NO_STEP_5)
    do
    :: i < PORTS -> good = good && (key[i] == 0 || (key[i] == mine[n] && i / PATHS == n)); i++
    :: else -> break
    od;
    i = 0;
#else
    good = true; /* these variants do not look twice */
#endif
    if
    :: good ->
      one_owner = (mine[n] > fence);
      assert(one_owner); fence = mine[n]; step[n] = START_VM
    :: else -> step[n] = REGISTER
    fi; good = false }
  :: atomic { step[n] == START_VM -> vm[n] = mine[n]; stop_procedure(n) }
  od
}
