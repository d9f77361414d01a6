// The kernels without Python, on one thread, for each instruction set of this CPU: the pieces on 1024
// elements that stay in L1, and softmax by each of its traversals:
//
//   rows     one by one, staggered where they are one block long (kernels/maps.hpp)
//   abreast  contiguous rows of 80 (float64: 64) to 1024 classes: several share steps (kernels/abreast.hpp)
//   across   a row in each lane, transposed on the way: up to 256 classes (kernels/across.hpp)
//   columns  a row in each lane, as they lie: classes on another axis, up to 1024 (the same)
//
//   cmake -S . -B build -DSOFTLANE_CORE_ONLY=ON -DSOFTLANE_BENCHMARK=ON && cmake --build build
//   build/kernels_benchmark --benchmark_filter=float32/avx512
//
// "ns" and "TSC" are per element. TSC cycles tick at the constant rate of the time stamp counter, not
// at the core's own frequency; only x86-64 has them.
#include <benchmark/benchmark.h>

#include <chrono>
#include <cstdint>
#include <new>
#include <string>
#include <vector>

#include "dispatch/dispatch.hpp"

namespace {

using namespace softlane;

template <class T>
constexpr Dtype dtype_of = sizeof(T) == 4 ? Dtype::float32 : Dtype::float64;

std::uint64_t ticks() {
#if defined(__x86_64__)
  return __builtin_ia32_rdtsc();
#else
  return 0;
#endif
}

// Elements on a cache line's border, as NumPy's larger arrays nearly are.
template <class T>
class Buffer {
 public:
  explicit Buffer(index_t n)
      : data_(static_cast<T*>(::operator new(bytes(n), std::align_val_t{64}))) {
    for (index_t k = 0; k < n; ++k) data_[k] = T(0);
  }
  ~Buffer() { ::operator delete(data_, std::align_val_t{64}); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  T* data() const { return data_; }

 private:
  static std::size_t bytes(index_t n) { return static_cast<std::size_t>(n) * sizeof(T); }
  T* data_;
};

// Logits in [-20, 0), from Knuth's MMIX generator.
template <class T>
void fill(T* x, index_t n) {
  std::uint64_t state = 1;
  for (index_t k = 0; k < n; ++k) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    x[k] = static_cast<T>(-20.0 * (static_cast<double>(state >> 33) * 0x1p-31));
  }
}

template <class Body>
void measure(benchmark::State& state, index_t elements, Body body) {
  body();  // touches the output's pages
  using clock = std::chrono::steady_clock;
  const clock::time_point start = clock::now();
  const std::uint64_t begin = ticks();
  for (auto _ : state) {
    body();
    benchmark::ClobberMemory();
  }
  const double cycles = static_cast<double>(ticks() - begin);
  const std::chrono::duration<double, std::nano> spent = clock::now() - start;
  const double all = static_cast<double>(elements) * static_cast<double>(state.iterations());
  state.counters["ns"] = spent.count() / all;
  if (cycles > 0) state.counters["TSC"] = cycles / all;
}

template <class T>
void piece(benchmark::State& state, Probe probe) {
  constexpr int n = 1024;
  const Buffer<T> x(n), out(n + 1);
  fill(x.data(), n);
  measure(state, n, [&] { probe(x.data(), n, out.data()); });
}

enum class Traversal { rows, abreast, across, columns };

// The kernel itself chooses by the shape and the strides; the benchmarks' shapes are such that it
// chooses what their names say.
template <class T>
void softmax(benchmark::State& state, const KernelTable& table, Traversal traversal) {
  const index_t rows = state.range(0), classes = state.range(1);
  const Buffer<T> x(rows * classes), out(rows * classes);
  fill(x.data(), rows * classes);

  Call call{};
  call.operation = Operation::softmax;
  call.dtype = dtype_of<T>;
  call.classes = classes;
  call.space.ndim = 1;
  call.space.rows = rows;
  call.space.shape[0] = rows;
  const auto stream = [&](T* data) {
    Stream s;
    s.data = reinterpret_cast<char*>(data);
    s.format = {sizeof(T) == 4 ? Element::float32 : Element::float64, ByteOrder::native};
    const bool columns = traversal == Traversal::columns;
    s.class_stride = (columns ? rows : 1) * static_cast<index_t>(sizeof(T));
    s.row_stride[0] = (columns ? 1 : classes) * static_cast<index_t>(sizeof(T));
    return s;
  };
  call.logits = stream(x.data());
  call.out[0] = stream(out.data());
  const Buffer<char> scratch(static_cast<index_t>(scratch_bytes(call)));
  // Where there are few rows they go one by one. The cursor goes by the shape, not by this number.
  if (traversal == Traversal::rows) call.space.rows = least_rows - 1;

  const Kernel kernel =
      table.kernel[static_cast<int>(call.dtype)][static_cast<int>(Operation::softmax)];
  measure(state, rows * classes, [&] { kernel(call, 0, rows, scratch.data()); });
}

template <class T>
void register_all(const KernelTable& table) {
  const Probes& probes = table.probes[static_cast<int>(dtype_of<T>)];
  const std::string dtype = sizeof(T) == 4 ? "float32" : "float64";
  const auto name = [&](const char* what) {
    return std::string(what) + "/" + dtype + "/" + table.isa;
  };
  const auto add = [&](const char* what, Probe probe) {
    benchmark::RegisterBenchmark(name(what).c_str(),
                                 [=](benchmark::State& state) { piece<T>(state, probe); });
  };
  add("exp", probes.exp_block);
  add("block_max", probes.block_max);
  add("summarize_block", probes.summarize_block);
  using Shapes = std::vector<std::vector<index_t>>;
  const auto over = [&](const char* what, Traversal traversal, const Shapes& shapes) {
    auto* const all = benchmark::RegisterBenchmark(
        name(what).c_str(),
        [&table, traversal](benchmark::State& state) { softmax<T>(state, table, traversal); });
    all->ArgNames({"rows", "classes"});
    for (const std::vector<index_t>& shape : shapes) all->Args({shape[0], shape[1]});
  };
  // Each but the rows' beside the rows one by one; long rows go no other way.
  const Shapes few = {{4096, 10}, {100000, 3}, {64, 37}};
  const Shapes middling = {{512, 512}, {64, 1000}, {64, 151}};
  const Shapes columns = {{4096, 10}, {64, 1000}};
  over("rows", Traversal::rows, few);
  over("rows", Traversal::rows, middling);
  over("rows", Traversal::rows, {{1, 10}, {1, 1000}, {32, 32000}, {1, 1000000}});
  over("across", Traversal::across, few);
  over("abreast", Traversal::abreast, middling);
  over("columns", Traversal::columns, columns);
}

}  // namespace

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  for (const std::string& isa : available_isas()) {
    select_isa(isa);
    const KernelTable& table = active_table();
    register_all<float>(table);
    register_all<double>(table);
  }
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
