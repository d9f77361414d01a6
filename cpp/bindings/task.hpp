// One call from arguments to result: what the public functions fill in, and what they share.
#pragma once

#include "bindings/outputs.hpp"

namespace softlane::bindings {

struct Task {
  Task(const char* name, Operation operation) : function(name) { call.operation = operation; }

  const char* function;
  Call call;
  Axes axes;

  // The dtype= of the result, if one is asked for.
  std::optional<Element> dtype;
  // What the inputs count as together, where logits are not the only one.
  std::optional<Element> promoted;

  Array logits;
  Array probabilities;
  Array vector;
  Array factors;
  Output out[2];
  Layout layout[2] = {Layout::classes, Layout::classes};

  // Does an operand list rows in C order (labels, row_scale, damping, row_loss)?
  bool rows_in_order = false;

  // Which entries of logits (named `input` to the caller) take part; None: all.
  void keep(py::handle where, const char* input);

  Element input_element() const { return promoted ? *promoted : logits.format.element; }
  Element result_element() const { return dtype ? *dtype : result_of(input_element()); }

  // A result of the shape of `like`, in its memory order.
  void result_like(int index, const char* name, py::handle given, const View& like);
  // A result with one element a row.
  void result_of_rows(int index, const char* name, py::handle given, bool keepdims,
                      Element element);
  // A result with a matrix over the classes for each row.
  void result_of_matrices(const char* name, py::handle given);

  // Two arrays of the caller's to write to must not share memory.
  void check_apart() const;

  // Separates operands that overlap, describes them to the kernels and computes.
  void execute();

  py::object finish() { return out[0].finish(function); }
  // The two results; `given` is the caller's `out`.
  py::object finish_pair(py::handle given);

 private:
  void separate();
  void bind_input(Stream& stream, Array& array, Layout layout);
  void bind_mask();
  void copy_mask();
  void fill_without_classes();

  py::object mask_;
  View mask_view_;  // of logits' shape
  bool mask_overlaps_ = false;
  Buffer<char> mask_copy_;
};

}  // namespace softlane::bindings
