// A Python function whose calls do not run Python: the arguments are bound to its signature here and
// go straight to the function of this module behind it.
//
// The frame, and a dictionary's look-up for each keyword that is left at its default, take about
// 100 ns of a call on ten numbers, a quarter of it. Signature, annotations and docstring stay those
// of the Python function (functools.update_wrapper), which also says what is wrong with a call that
// does not fit.
#include "bindings/functions.hpp"

// Python.h comes first.
#include <structmember.h>

#include <cstddef>
#include <cstdint>

namespace softlane::bindings {

namespace {

using Fast = PyObject* (*)(PyObject*, PyObject* const*, Py_ssize_t);

constexpr Py_ssize_t most_parameters = 16;

struct Direct {
  PyObject ob_base;
  vectorcallfunc vectorcall;
  PyObject* attributes;
  PyObject* weak_references;
  PyObject* python;  // the function with the signature
  PyObject* core;    // the one that computes: all arguments by position
  PyObject* names;   // of the parameters, a tuple; interned
  Fast fast;         // what `core` calls
  Py_ssize_t parameters, positional;
  PyObject* defaults[most_parameters];  // null: the argument is required
};

Direct* direct(PyObject* self) { return reinterpret_cast<Direct*>(self); }

// The place of a keyword, or -1. Names in source code are interned: identity decides nearly always.
Py_ssize_t place_of(const Direct* f, PyObject* keyword) {
  for (Py_ssize_t i = 0; i < f->parameters; ++i)
    if (PyTuple_GET_ITEM(f->names, i) == keyword) return i;
  for (Py_ssize_t i = 0; i < f->parameters; ++i)
    if (PyUnicode_Compare(PyTuple_GET_ITEM(f->names, i), keyword) == 0) return i;
  return -1;
}

// All arguments, borrowed. False where they do not fit the signature.
bool bind_arguments(const Direct* f, PyObject* const* given, Py_ssize_t count, PyObject* keywords,
                    PyObject** bound) {
  if (count > f->positional) return false;
  for (Py_ssize_t i = 0; i < count; ++i) bound[i] = given[i];
  for (Py_ssize_t i = count; i < f->parameters; ++i) bound[i] = f->defaults[i];
  const Py_ssize_t named = keywords == nullptr ? 0 : PyTuple_GET_SIZE(keywords);
  static_assert(most_parameters <= 32);
  std::uint32_t seen = 0;  // a bit a parameter: subclasses of str may come twice
  for (Py_ssize_t k = 0; k < named; ++k) {
    const Py_ssize_t i = place_of(f, PyTuple_GET_ITEM(keywords, k));
    if (i < count || (seen >> i & 1) != 0) return false;  // unknown, or given twice
    seen |= std::uint32_t{1} << i;
    bound[i] = given[count + k];
  }
  for (Py_ssize_t i = count; i < f->parameters; ++i)
    if (bound[i] == nullptr) return false;
  return true;
}

PyObject* call(PyObject* self, PyObject* const* given, std::size_t flagged, PyObject* keywords) {
  const Direct* const f = direct(self);
  PyObject* bound[most_parameters];
  if (bind_arguments(f, given, PyVectorcall_NARGS(flagged), keywords, bound))
    return f->fast(PyCFunction_GET_SELF(f->core), bound, f->parameters);
  return PyObject_Vectorcall(f->python, given, flagged, keywords);
}

// Direct(python, core): the parameters are those of `python`, in its order.
PyObject* make(PyTypeObject* type, PyObject* arguments, PyObject* keywords) {
  PyObject *python = nullptr, *core = nullptr;
  if (keywords != nullptr && PyDict_GET_SIZE(keywords) != 0) {
    PyErr_SetString(PyExc_TypeError, "Direct: both functions are given by position");
    return nullptr;
  }
  if (!PyArg_ParseTuple(arguments, "O!O!:Direct", &PyFunction_Type, &python, &PyCFunction_Type,
                        &core))
    return nullptr;
  if ((PyCFunction_GET_FLAGS(core) & (METH_FASTCALL | METH_KEYWORDS)) != METH_FASTCALL) {
    PyErr_SetString(PyExc_TypeError, "Direct: the second function takes not only positions");
    return nullptr;
  }
  try {
    const py::handle function = python;
    const py::object code = function.attr("__code__");
    const auto positional = code.attr("co_argcount").cast<Py_ssize_t>();
    const auto count = positional + code.attr("co_kwonlyargcount").cast<Py_ssize_t>();
    constexpr int starred = 0x04 | 0x08;  // CO_VARARGS, CO_VARKEYWORDS
    if (count > most_parameters || (code.attr("co_flags").cast<int>() & starred) != 0) {
      PyErr_SetString(PyExc_TypeError, "Direct: the signature is too long or has stars");
      return nullptr;
    }
    const py::object made = py::reinterpret_steal<py::object>(type->tp_alloc(type, 0));
    if (!made) return nullptr;
    Direct* const f = direct(made.ptr());
    f->vectorcall = call;
    f->python = py::handle(python).inc_ref().ptr();
    f->core = py::handle(core).inc_ref().ptr();
    f->names = py::tuple(code.attr("co_varnames")).release().ptr();
    f->fast = reinterpret_cast<Fast>(reinterpret_cast<void (*)()>(PyCFunction_GET_FUNCTION(core)));
    f->parameters = count;
    f->positional = positional;
    const py::object defaults = function.attr("__defaults__");
    const py::object named = function.attr("__kwdefaults__");
    const Py_ssize_t with_default = defaults.is_none() ? 0 : PyTuple_GET_SIZE(defaults.ptr());
    for (Py_ssize_t i = 0; i < with_default; ++i)
      f->defaults[positional - with_default + i] =
          py::handle(PyTuple_GET_ITEM(defaults.ptr(), i)).inc_ref().ptr();
    for (Py_ssize_t i = positional; i < count && !named.is_none(); ++i)
      f->defaults[i] =
          py::handle(PyDict_GetItem(named.ptr(), PyTuple_GET_ITEM(f->names, i))).inc_ref().ptr();
    return py::object(made).release().ptr();
  } catch (py::error_already_set& error) {
    error.restore();
    return nullptr;
  }
}

int traverse(PyObject* self, visitproc visit, void* arg) {
  Direct* const f = direct(self);
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(f->attributes);
  Py_VISIT(f->python);
  Py_VISIT(f->core);
  Py_VISIT(f->names);
  for (PyObject* value : f->defaults) Py_VISIT(value);
  return 0;
}

int clear(PyObject* self) {
  Py_CLEAR(direct(self)->attributes);
  return 0;
}

void deallocate(PyObject* self) {
  Direct* const f = direct(self);
  PyObject_GC_UnTrack(self);
  if (f->weak_references != nullptr) PyObject_ClearWeakRefs(self);
  Py_CLEAR(f->attributes);
  Py_CLEAR(f->python);
  Py_CLEAR(f->core);
  Py_CLEAR(f->names);
  for (PyObject*& value : f->defaults) Py_CLEAR(value);
  PyTypeObject* const type = Py_TYPE(self);
  type->tp_free(self);
  Py_DECREF(type);
}

PyObject* attribute(PyObject* self, const char* name) { return PyObject_GetAttrString(self, name); }

// By the Python function's names, for one's own may be anything.
PyObject* represent(PyObject* self) {
  PyObject* const python = direct(self)->python;
  const py::object module = py::reinterpret_steal<py::object>(attribute(python, "__module__"));
  const py::object name = py::reinterpret_steal<py::object>(attribute(python, "__qualname__"));
  if (!module || !name) return nullptr;
  return PyUnicode_FromFormat("<function %S.%S>", module.ptr(), name.ptr());
}

// inspect.getfullargspec asks for it, and does not look behind __wrapped__.
PyObject* signature(PyObject* self, void*) {
  const py::object inspect = py::reinterpret_steal<py::object>(PyImport_ImportModule("inspect"));
  if (!inspect) return nullptr;
  return PyObject_CallMethod(inspect.ptr(), "signature", "O", direct(self)->python);
}

// Pickled, and copied, by name.
PyObject* reduce(PyObject* self, PyObject*) { return attribute(self, "__qualname__"); }

// A method where it is an attribute of a class, as a Python function is.
PyObject* get(PyObject* self, PyObject* owner, PyObject*) {
  if (owner == nullptr || owner == Py_None) return py::handle(self).inc_ref().ptr();
  return PyMethod_New(self, owner);
}

PyMethodDef methods[] = {{"__reduce__", reduce, METH_NOARGS, nullptr},
                         {nullptr, nullptr, 0, nullptr}};

PyMemberDef members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(Direct, vectorcall), READONLY, nullptr},
    {"__dictoffset__", T_PYSSIZET, offsetof(Direct, attributes), READONLY, nullptr},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(Direct, weak_references), READONLY, nullptr},
    {nullptr, 0, 0, 0, nullptr}};

PyGetSetDef properties[] = {
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, nullptr, nullptr},
    {"__signature__", signature, nullptr, nullptr, nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr}};

template <class Function>
PyType_Slot slot(int id, Function* function) {
  return {id, reinterpret_cast<void*>(function)};
}

}  // namespace

void register_direct(py::module_& module) {
  PyType_Slot slots[] = {slot(Py_tp_new, make),
                         slot(Py_tp_call, PyVectorcall_Call),
                         slot(Py_tp_traverse, traverse),
                         slot(Py_tp_clear, clear),
                         slot(Py_tp_dealloc, deallocate),
                         slot(Py_tp_repr, represent),
                         slot(Py_tp_descr_get, get),
                         slot(Py_tp_methods, methods),
                         slot(Py_tp_members, members),
                         slot(Py_tp_getset, properties),
                         {0, nullptr}};
  PyType_Spec spec = {"softlane._core.Direct", sizeof(Direct), 0,
                      Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL, slots};
  const py::object type = py::reinterpret_steal<py::object>(PyType_FromSpec(&spec));
  if (!type) throw py::error_already_set();
  module.attr("Direct") = type;
}

}  // namespace softlane::bindings
