// Runs every operation on inputs made from integers alone and prints a hash of each result's bytes:
// the same text on every instruction set of one machine (checked here: exit status 1) and on every
// machine (compare the outputs; .ci/run does so for x86-64 and AArch64 under emulation).
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "dispatch/dispatch.hpp"
#include "parallel/parallel.hpp"

namespace {

using namespace softlane;

struct Lcg {  // Knuth's MMIX constants
  std::uint64_t state;
  std::uint32_t next() {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return static_cast<std::uint32_t>(state >> 33);
  }
  double uniform() { return static_cast<double>(next()) * 0x1p-31; }  // [0, 1)
};

std::uint64_t hash(const void* data, std::size_t bytes, std::uint64_t h) {  // FNV-1a
  const unsigned char* p = static_cast<const unsigned char*>(data);
  for (std::size_t i = 0; i < bytes; ++i) h = (h ^ p[i]) * 1099511628211u;
  return h;
}

template <class T>
constexpr Element own = sizeof(T) == 4 ? Element::float32 : Element::float64;

void set_stream(Stream& s, void* data, Element element, index_t per_row, index_t stride) {
  s.data = static_cast<char*>(data);
  s.format = {element, ByteOrder::native};
  s.class_stride = stride * item_size(element);
  s.row_stride[0] = per_row * s.class_stride;
}

// Computed in T, with logits and results stored as `element`.
template <class T>
std::uint64_t result(Element element, Operation operation, index_t rows, index_t classes,
                     double scale, int variant) {
  Lcg random{static_cast<std::uint64_t>(classes * 1000 + variant)};
  const std::size_t n = static_cast<std::size_t>(rows * classes);
  const index_t stride = variant % 2 == 0 ? 1 : 2;
  std::vector<T> logits(n * 2), probabilities(n), vector(n);
  for (T& x : logits) {
    const double sum = random.uniform() + random.uniform() + random.uniform() - 1.5;
    x = static_cast<T>(scale * sum + (variant == 3 ? 1e5 : 0));
    if (variant == 2 && random.next() % 7 == 0) x = -std::numeric_limits<T>::infinity();
  }
  for (T& x : probabilities) x = static_cast<T>(random.uniform());
  for (T& x : vector) x = static_cast<T>(random.uniform() - 0.5);
  std::vector<std::int64_t> labels(static_cast<std::size_t>(rows));
  for (auto& y : labels)
    y = static_cast<std::int64_t>(random.next() % static_cast<std::uint32_t>(classes));
  std::vector<char> mask(n);
  for (char& kept : mask) kept = random.next() % 4 != 0;
  std::vector<double> damping(static_cast<std::size_t>(rows), 0.25);

  const bool matrix = operation == Operation::cross_entropy_hessian;
  const std::size_t item = static_cast<std::size_t>(item_size(element));
  std::vector<char> stored(logits.size() * item), out[2];
  for (std::size_t i = 0; i < logits.size(); ++i)
    active_table().fill(stored.data() + i * item, 0, {element, ByteOrder::native}, 1,
                        static_cast<double>(logits[i]));
  for (auto& o : out) o.assign(n * static_cast<std::size_t>(matrix ? classes : 1) * item, 0);

  Call call{};
  call.operation = operation;
  call.dtype = sizeof(T) == 4 ? Dtype::float32 : Dtype::float64;
  call.classes = classes;
  call.space.ndim = 1;
  call.space.rows = rows;
  call.space.shape[0] = rows;
  set_stream(call.logits, stored.data(), element, classes, stride);
  if (operation <= Operation::signed_sum) {
    call.temperature = variant == 1 ? 0.7 : 1.0;
    call.negate = variant == 2 && operation == Operation::softmax;
    if (variant == 4) {
      call.mask.data = mask.data();
      call.mask.class_stride = 1;
      call.mask.row_stride[0] = classes;
    }
  } else if (variant == 2) {
    set_stream(call.probabilities, probabilities.data(), own<T>, classes, 1);
  } else {
    call.labels = labels.data();
    call.label_smoothing = variant == 1 ? 0.1 : 0.0;
  }
  set_stream(call.vector, vector.data(), own<T>, classes, 1);
  set_stream(call.factors, vector.data(), own<T>, classes, 1);
  call.damping = damping.data();
  for (int i = 0; i < 2; ++i)
    set_stream(call.out[i], out[i].data(), element, matrix ? classes * classes : classes, 1);
  call.out[0].second_class_stride = classes * item_size(element);
  run(call);
  std::uint64_t h = 14695981039346656037u;
  for (const auto& o : out) h = hash(o.data(), o.size(), h);
  return h;
}

std::string report() {
  std::string text;
  const index_t sizes[] = {1, 2, 3, 7, 10, 16, 17, 37, 64, 65, 151, 1000, 1024, 1025, 5003};
  for (int op = 0; op < static_cast<int>(Operation::count); ++op) {
    const auto operation = static_cast<Operation>(op);
    for (const index_t classes : sizes) {
      if (operation == Operation::cross_entropy_hessian && classes > 151) continue;
      for (int variant = 0; variant < 5; ++variant) {
        for (const double scale : {1.0, 30.0}) {
          char line[128];
          const auto in = [&](auto zero, Element element) {
            return result<decltype(zero)>(element, operation, 5, classes, scale, variant);
          };
          std::snprintf(line, sizeof line,
                        "%d %d %d %g %016" PRIx64 " %016" PRIx64 " %016" PRIx64 " %016" PRIx64 "\n",
                        op, static_cast<int>(classes), variant, scale, in(0.0f, Element::float32),
                        in(0.0, Element::float64), in(0.0f, Element::float16),
                        in(0.0f, Element::bfloat16));
          text += line;
        }
      }
    }
  }
  return text;
}

}  // namespace

int main() {
  std::string first;
  for (const std::string& isa : available_isas()) {
    select_isa(isa);
    const std::string text = report();
    if (first.empty()) first = text;
    if (text != first) {
      std::fprintf(stderr, "%s differs from %s\n", isa.c_str(), available_isas()[0].c_str());
      return 1;
    }
  }
  std::fputs(first.c_str(), stdout);
  return 0;
}
