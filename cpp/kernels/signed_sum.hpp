// log |S| and the sign of S, the sum of b_k exp(x_k) with factors of either sign.
//
// Where terms of both signs cancel, S is as good as its terms are: they and their sum are pairs of float64. (Terms of
// float32 rows that cancel less than 2^20 times are as good without, and by vectors they are float64 alone.) A term is
// m 2^e with an integer e, for neither b nor exp(x) has to be a number that float64 can hold:
//
//   b = f 2^j,  1 <= |f| < 2;   x - c = n ln2 + r, with the rounding of the difference carried;
//   m = f exp(r),  e = n + j;   log |S| = c + E ln2 + log |sum of m 2^(e - E)|
//
// where c is the x of the largest term, or of one half as large.
//
// By vectors (VectorSum) all terms have one E, the largest's own, and are added in 16 lanes as LaneSum has it. That takes
// finite numbers (or terms of -inf), and a sum that is not far below its terms. Other rows, term by term in order of k,
// keep the exponent of what they have so far, and may have terms that are not finite. Which way a row goes is a matter
// of its numbers alone.
#pragma once

#include "kernels/losses.hpp"

namespace softlane {
namespace SOFTLANE_ISA {

// v = f 2^exponent with 1 <= |f| < 2, for finite v != 0. Returns f.
inline double split_exponent(double v, int& exponent) {
  exponent = 0;
  const double size = v < 0 ? -v : v;
  if (size < 0x1p-1022) {
    v *= 0x1p64;
    exponent = -64;
  }
  std::uint64_t bits;
  std::memcpy(&bits, &v, sizeof bits);
  const int e = static_cast<int>(bits >> 52 & 0x7ff) - 1023;
  exponent += e;
  bits -= static_cast<std::uint64_t>(static_cast<std::int64_t>(e)) << 52;
  std::memcpy(&v, &bits, sizeof v);
  return v;
}

// value 2^exponent
struct Scaled {
  Wide<double> value{0};
  int exponent = 0;

  // The larger exponent is kept: what underflows is 2^-1022 of what is there.
  void add(const Scaled& term) {
    const int d = term.exponent - exponent;
    if (value.hi == 0) {
      *this = term;
    } else if (d > 0) {
      value = value * pow2_or_zero(-d) + term.value;
      exponent = term.exponent;
    } else {
      value = value + term.value * pow2_or_zero(d);
    }
  }
};

// b exp(x - c), for |x - c| < 2^13, where n ln2_hi is exact.
inline Scaled scaled_term(double b, double x, double c) {
  using R = ExpRange<double>;
  const Wide<double> z = Wide<double>{x} + Wide<double>{-c};
  const Direct<double> map;
  Base<double> base;  // exp(z)'s own n, so that this is exp(r) 2^(top - bias)
  base.exponent = fma1(z.hi, map.slope(), R::magic) - R::magic;
  base.floor = negative_infinity<double>();
  Wide<double> m = exp_unscaled(z.hi, map, base);
  m = m + m * z.lo;
  int j;
  const double f = split_exponent(b, j);
  return {m * f, static_cast<int>(base.exponent) + j - static_cast<int>(R::top - R::bias)};
}

// log |s 2^power| + c, rounded once, of normal s.
template <class D>
inline D log_size(const Wide<double, D>& s, D power, D c) {
  using C = ExpConstants<double>;
  using W = Wide<double, D>;
  const D zero(0.0), one(1.0), size = select(greater(zero, s.hi), -s.hi, s.hi);
  const D below = exponent(size), whole = size * power_of_two(-below);
  // Into [sqrt(1/2), sqrt(2)], so that a sum close to 1 has a logarithm close to 0 in one piece.
  const auto upper = greater(whole, D(0x1.6a09e667f3bcdp+0));
  const D f = select(upper, whole * D(0.5), whole);
  const D e = power + select(upper, below + one, below);
  // As log_of(f). The ratio is at most 2^-53: its square is lost.
  const auto small = greater(one, f);
  const D r = select(small, one / f, f), u = r - one;
  const D lost = select(small, fma1(-r, f, one) / f, zero) + ((r - u) - one);
  const W l = log1p<double>(u, lost);
  const W log_f = W{select(small, -l.hi, l.hi), select(small, -l.lo, l.lo)} + W{s.lo / s.hi};
  const W log_power = W{e * D(C::ln2_hi)} + W{e * D(C::ln2_lo)};
  return (W{c} + (log_power + log_f)).value();
}

inline double log_size(Scaled s, double c) {
  if (-0x1p-900 < s.value.hi && s.value.hi < 0x1p-900) {
    s.value = {s.value.hi * 0x1p600, s.value.lo * 0x1p600};
    s.exponent -= 600;
  }
  return log_size(s.value, static_cast<double>(s.exponent), c);
}

// By vectors, for a row along them and for rows across lanes: what decides whether a row is for vectors.
template <class T>
struct SignedRange {
  using D = Vec<double>;
  D highest = D(-__builtin_inf()), most = D(0.0);  // x, and |b|
  D odd = D(0.0);  // 1 where something is not finite, or a b subnormal
};
// The largest term: its c, and the exponent of its b.
template <class T>
struct LargestTerm {
  using D = Vec<double>;
  D size = D(-__builtin_inf()), c = D(0.0), power = D(0.0);

  SOFTLANE_INLINE void take(D x, D b, SignedRange<T>& range) {
    const D zero(0.0), one(1.0), infinity(__builtin_inf());
    const D magnitude = max(b, zero - b), u = select(equal(b, zero), zero - infinity, x);
    const auto absent = equal(u, zero - infinity);  // unless b is not finite
    range.odd =
        select(greater(infinity, u), select(greater(infinity, magnitude), range.odd, one), one);
    if constexpr (sizeof(T) == sizeof(double)) {  // subnormal numbers have no exponent
      range.odd =
          select(greater(D(0x1p-1022), magnitude), select(absent, range.odd, one), range.odd);
    }
    range.highest = max(u, range.highest);
    range.most = max(select(absent, zero, magnitude), range.most);
    const D e = select(absent, zero, exponent(magnitude));
    const D log = fma(e, D(0x1.62e42fefa39efp-1), u);
    const auto larger = greater(log, size);
    size = select(larger, log, size);
    c = select(larger, u, c);
    power = select(larger, e, power);
  }
};
// Rows whose terms, relative to the largest, cannot leave float64's range; of the rows' own numbers.
template <class D>
inline unsigned fit_for_vectors(D odd, D size, D c, D power, D highest, D most) {
  const auto bits = [](auto mask) { return static_cast<unsigned>(mask); };
  return bits(equal(odd, D(0.0))) & bits(greater(size, D(-__builtin_inf()))) &
         bits(greater(D(1000.0), power)) & bits(greater(power, D(-1000.0))) &
         bits(greater(D(400.0), highest - c)) &
         bits(greater(D(0x1p500), most * power_of_two(-power)));
}

// b exp(x - c) 2^-power, and of float64 rows what that rounds away. Less than e^-700 is 0: with b of 2^500 at most
// that is nothing beside 2^-200 of the largest, below which no sum is left as it is (`well_above`).
template <class T>
class SignedTerms {
 public:
  using D = Vec<double>;
  static constexpr bool pairs = sizeof(T) == sizeof(double);

  SignedTerms(D c, D power_of_b) : c_(c), scale_(power_of_b) {
    base_.exponent = D(ExpRange<double>::top - ExpRange<double>::bias);
    base_.floor = D(-700.0);
  }
  SOFTLANE_INLINE D term(D x, D b, D& low) const {
    const D zero(0.0), lowest(-__builtin_inf()), u = select(equal(b, zero), lowest, x);
    const D f = select(equal(u, lowest), zero, b) * scale_;  // b may be of any size there
    const auto z = difference<T>(u, c_);
    const D argument = max(z.value(), base_.floor);
    const auto e = exp_unscaled(argument, Direct<double>{}, base_);
    const D m = e.value().r[0], product = m * f;
    if constexpr (pairs) {
      const D beside = select(greater(argument, base_.floor), z.low(), zero);
      low = fma(m, f, zero - product) + fma(m, beside, e.low().r[0]) * f;
    }
    return product;
  }

 private:
  D c_, scale_;
  Base<double, D> base_;
};
// Sums of float32 rows are as good as their terms, beside these; so are pairs.
template <class T, class D>
SOFTLANE_INLINE auto well_above(D sum, D sizes) {
  const D zero(0.0), size = select(greater(zero, sum), -sum, sum);
  return greater(size, sizeof(T) == sizeof(double) ? D(0x1p-200) : D(0x1p-20) * sizes);
}

// The sum of a row by vectors.
template <class T>
class VectorSum {
 public:
  using D = Vec<double>;
  static constexpr int registers = Lanes<T>::registers;

  // False where the row is not for vectors.
  bool operator()(const Row<T>& x, const Row<T>& b, index_t classes, const Scratch<T>& scratch) {
    const auto each_vector_of = [&](auto body) __attribute__((always_inline)) {
      for (index_t k0 = 0; k0 < classes; k0 += block_size) {
        const int n = block_length(classes, k0);
        const T *const v = x.fetch(k0, n, scratch.logits), *const f = b.fetch(k0, n, scratch.other);
        for (int k = 0; k < n; k += 16) {
          const Lanes<T> u = Lanes<T>::load(v + k, n - k), factors = Lanes<T>::load(f + k, n - k);
          for (int j = 0; j < registers && j * D::lanes < n - k; ++j) body(j, u.d[j], factors.d[j]);
        }
      }
    };
    LargestTerm<T> largest[registers];
    SignedRange<T> range;
    each_vector_of([&](int j, D u, D f)
                       __attribute__((always_inline)) { largest[j].take(u, f, range); });
    if (!settle(largest, range)) return false;
    const SignedTerms<T> terms{D(c_), D(pow2(static_cast<int>(-power_)))};
    LaneSum<T> sum;
    LaneSum<float> sizes;
    each_vector_of([&](int j, D u, D f) __attribute__((always_inline)) {
      D low(0.0);
      const D term = terms.term(u, f, low);
      sum.add(j, term);
      if constexpr (SignedTerms<T>::pairs) {
        sum.add_low(j, low);
      } else {
        sizes.add(j, max(term, D(0.0) - term));
      }
    });
    const Wide<T> total = sum.total();
    sum_ = {total.value(), total.low()};
    return well_above<T>(sum_.hi, SignedTerms<T>::pairs ? 0.0 : sizes.total().value());
  }

  double sign() const { return sum_.hi; }
  double log() const { return log_size(sum_, power_, c_); }

 private:
  bool settle(const LargestTerm<T>* largest, const SignedRange<T>& range) {
    alignas(64) double sizes[16], cs[16], powers[16];
    for (int j = 0; j < registers; ++j) {
      largest[j].size.store(sizes + j * D::lanes);
      largest[j].c.store(cs + j * D::lanes);
      largest[j].power.store(powers + j * D::lanes);
    }
    int l = 0;
    for (int i = 1; i < 16; ++i) l = sizes[i] > sizes[l] ? i : l;
    c_ = cs[l];
    power_ = powers[l];
    return fit_for_vectors(reduce_max(range.odd), sizes[l], c_, power_, reduce_max(range.highest),
                           reduce_max(range.most)) != 0;
  }

  double c_ = 0, power_ = 0;
  Wide<double> sum_{0};
};

template <class T>
void signed_sum_rows(const Call& call, index_t begin, index_t end, void* memory) noexcept {
  const Scratch<T> scratch(call, memory);
  constexpr double infinity = __builtin_inf(), nan = __builtin_nan(""), ln2 = 0x1.62e42fefa39efp-1;
  const auto write = [&](const RowCursor& cursor, double value, double sign) {
    sign = sign > 0 ? 1 : sign < 0 ? -1 : sign;
    if (call.out[1].data != nullptr) {
      set_one<T>(cursor, call.out[1], sign);
    } else if (sign < 0) {
      value = nan;
    }
    set_one<T>(cursor, call.out[0], value);
  };
  const auto row = [&](const RowCursor& cursor) {
    const Row<T> x = logits_of<T>(call, cursor);
    Row<T> b = cursor.of<T>(call.factors);
    b.mask = x.mask;
    b.mask_stride = x.mask_stride;
    VectorSum<T> sum;
    if (sum(x, b, call.classes, scratch)) return write(cursor, sum.log(), sum.sign());
    // body(x, b) for every term; a factor of 0 leaves its term out, whatever x is.
    const auto each_term = [&](auto body) {
      for (index_t k0 = 0; k0 < call.classes; k0 += block_size) {
        const int n = block_length(call.classes, k0);
        const T* const v = x.fetch(k0, n, scratch.logits);
        const T* const factor = b.fetch(k0, n, scratch.other);
        for (int k = 0; k < n; ++k) {
          if (factor[k] != 0) body(static_cast<double>(v[k]), static_cast<double>(factor[k]));
        }
      }
    };
    // The terms that are not finite, added as they are: 0, ±inf or NaN. 0·inf is NaN.
    double special = 0, largest = -infinity, c = 0;
    each_term([&](double v, double factor) {
      const bool finite = factor - factor == 0;
      if (v - v == 0 && finite) {
        int j;
        split_exponent(factor, j);
        const double size = v + j * ln2;
        if (size > largest) {
          largest = size;
          c = v;
        }
      } else if (!(v == -infinity && finite)) {
        const double power = v == -infinity ? 0.0 : v == v ? infinity : nan;
        special += factor * power;
      }
    });
    if (special != special) special = nan;  // the NaN of inf - inf has a sign on some CPUs
    double sign = special, value = special < 0 ? -special : special;
    if (special == 0) {
      value = -infinity;
      Scaled so_far;
      each_term([&](double v, double factor) {
        const double z = v - c;
        // Below, a term is nothing beside the largest even times the largest over the smallest factor.
        if (z > -0x1p13) so_far.add(scaled_term(factor, v, c));
      });
      sign = so_far.value.hi;
      if (sign != 0) value = log_size(so_far, c);
    }
    write(cursor, value, sign);
  };
  each_row(call, begin, end, row);
}

}  // namespace SOFTLANE_ISA
}  // namespace softlane
