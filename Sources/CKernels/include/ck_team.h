// A team of threads that share loops: fork, join, nothing else.
//
// A loop is `count` items, taken in ascending order by whoever is free. What an item computes must not depend on who runs
// it nor on what runs beside it; then results do not depend on the size of the team.
//
// The loop itself, ck_team_run, is called with a Swift closure and therefore declared in ThreadTeam.swift.
#ifndef CK_TEAM_H
#define CK_TEAM_H

#include <stdint.h>

enum { CK_TEAM_LIMIT = 256 };

// The size from now on, the caller of a loop included; 1 ... CK_TEAM_LIMIT. Threads are started here and stay. Returns the
// size, smaller than asked where the system refuses a thread. Waits for a loop that is under way; not for use inside one.
int64_t ck_team_configure(int64_t threads);
int64_t ck_team_size(void);

#endif
