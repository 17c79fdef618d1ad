#include <cblas.h>

// LAPACK's Cholesky factorization, which libopenblas contains; cblas.h declares BLAS alone. Column-major, in place.
void dpotrf_(const char *uplo, const int *n, double *a, const int *lda, int *info);
