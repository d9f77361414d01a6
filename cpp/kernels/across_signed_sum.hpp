// Signed sums with rows across lanes.
#pragma once

#include "kernels/across_maps.hpp"
#include "kernels/signed_sum.hpp"

namespace softlane {
namespace SOFTLANE_ISA {

// As VectorSum, with the same operations in the same order. A bit for each lane that is for it.
template <class T>
inline unsigned sum_signed(const GroupSlot<T>& slot, int n, Pack<T>& value, Pack<T>& sign) {
  using P = Pack<T>;
  using D = Vec<double>;
  constexpr bool pairs = SignedTerms<T>::pairs;
  const int lanes = n < 16 ? n : 16;
  LargestTerm<T> largest[P::registers];
  SignedRange<T> range[P::registers];
  for (int l = 0; l < lanes; ++l) {  // of equal terms the first of the lowest lane
    for (int k = l; k < n; k += 16) {
      const P x = widened(slot.x.load(k)), b = widened(slot.other.load(k));
      for (int j = 0; j < P::registers; ++j) largest[j].take(x.r[j], b.r[j], range[j]);
    }
  }
  const auto of_largest = [&](D LargestTerm<T>::* member) {
    return P::each([&](int j) { return largest[j].*member; });
  };
  const auto of_range = [&](D SignedRange<T>::* member) {
    return P::each([&](int j) { return range[j].*member; });
  };
  const P c = of_largest(&LargestTerm<T>::c), power = of_largest(&LargestTerm<T>::power);
  const unsigned fits =
      fit_for_vectors(of_range(&SignedRange<T>::odd), of_largest(&LargestTerm<T>::size), c, power,
                      of_range(&SignedRange<T>::highest), of_range(&SignedRange<T>::most));
  if ((fits & slot.rows()) == 0) return 0;
  const P scale = power_of_two(-power), zero(0.0);
  P hi[16], lo[16], sizes[16];
  for (int k = 0; k < n; ++k) {
    const int l = k % 16;
    if (k < 16) hi[l] = lo[l] = sizes[l] = zero;
    const P x = widened(slot.x.load(k)), b = widened(slot.other.load(k));
    P low(0.0);
    const P term = P::each([&](int j) __attribute__((always_inline)) {
      return SignedTerms<T>(c.r[j], scale.r[j]).term(x.r[j], b.r[j], low.r[j]);
    });
    add_to_lane<T>(hi[l], lo[l], term);
    if constexpr (pairs) {
      lo[l] = lo[l] + low;
    } else {
      sizes[l] = sizes[l] + P::each([&](int j) { return max(term.r[j], D(0.0) - term.r[j]); });
    }
  }
  const Wide<T, P> total = lanes_total<T>(hi, lo, lanes);
  const P size = pairs ? zero : lanes_total<float>(sizes, lanes).value();
  const Wide<double, P> sum{total.value(), total.low()};
  sign = sum.hi;
  value = log_size(sum, power, c);
  return fits & static_cast<unsigned>(well_above<T>(sum.hi, size));
}

template <class T>
void signed_sum(const Call& call, index_t begin, index_t end, void* memory) noexcept {
  // Where a mask leaves a logit out its factor may be anything.
  if (call.mask.data != nullptr || !suits_groups<T>(call))
    return signed_sum_rows<T>(call, begin, end, memory);
  using P = Pack<T>;
  const int n = static_cast<int>(call.classes);
  const bool signs = call.out[1].data != nullptr;
  const auto finish = [&](const GroupSlot<T>& slot) {
    P value, sum;
    const unsigned rows = slot.rows(), fits = sum_signed(slot, n, value, sum) & rows;
    if (fits != 0) {
      const P zero(0.0), one(1.0);
      const auto negative = greater(zero, sum);
      if (signs) {
        write_row_values(call, slot.group, call.out[1], narrowed<T>(select(negative, -one, one)));
      } else {
        value = select(negative, P(__builtin_nan("")), value);
      }
      write_row_values(call, slot.group, call.out[0], narrowed<T>(value));
    }
    for (unsigned again = rows & ~fits; again != 0; again &= again - 1) {
      const index_t row = slot.group.first.row() + first_set(again);
      signed_sum_rows<T>(call, row, row + 1, memory);
    }
  };
  each_group<T>(
      call, begin, end, memory, Keep::nothing, nullptr, Carrier<T>(call, call.factors), Also::read,
      [](GroupSlot<T>&) {}, finish, signed_sum_rows<T>);
}

}  // namespace SOFTLANE_ISA
}  // namespace softlane
