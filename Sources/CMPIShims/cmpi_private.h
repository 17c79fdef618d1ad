// What the files of the shim share; not visible outside it.
#ifndef CMPI_PRIVATE_H
#define CMPI_PRIVATE_H

#include <mpi.h>
#include "include/cmpi.h"

static inline MPI_Comm cmpi_unwrap(cmpi_comm comm) { return (MPI_Comm)comm.handle; }
static inline cmpi_comm cmpi_wrap(MPI_Comm comm) { return (cmpi_comm){(intptr_t)comm}; }

#endif
