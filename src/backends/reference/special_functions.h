// Special functions that the C++ library lacks, in double precision.
#pragma once

namespace blade::backends {

// The logarithmic derivative of the gamma function; infinite at 0, NaN at the other poles.
double digamma(double x);
// The x of which erf is `y`; infinite at -1 and 1, NaN outside.
double erf_inverse(double y);
// The quantile of the standard normal distribution; infinite at 0 and 1, NaN outside.
double normal_quantile(double p);

}  // namespace blade::backends
