// What the solvers share: the powers of the error norm, and the loop over the candidates of a scale.
#ifndef CK_SOLVER_PLAN_H
#define CK_SOLVER_PLAN_H

#include "../ck_strict.h"
#include "../codec/codec_plan.h"
#include "../include/ck_solver.h"

// log2(m) = (m - 1) P(m - 1) on [1, 2), to 2e-5; 2^f on [-1/2, 1/2], to 3e-6. Enough to compare errors by.
static const float ck_log2_terms[5] = {1.4418798685073853f, -0.708865225315094f, 0.41524556279182434f,
                                       -0.19351652264595032f, 0.04526829347014427f};
static const float ck_exp2_terms[5] = {1.0000001192092896f, 0.6931210160255432f, 0.2402210682630539f,
                                       0.05592203512787819f, 0.009676037356257439f};

static inline bool ck_searches(const ck_scale_search *search) { return search->from < 0 || search->through > 0; }

// 2^(127-byte), the factor that brings weights to the element's range.
static inline float ck_inverse_scale(int32_t byte) { return ck_scale_value(CK_SCALE_LARGEST - byte); }

#endif
