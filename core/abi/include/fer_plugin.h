/*
 * fer_plugin.h: components for fer-host in C99 or C++11.
 *
 * A library exports one function, fer_plugin_entry, which gives a table of its components. Each component says what it is and which
 * options it has, and has a function that describes its forward computation by calling back into the host: it never sees a number
 * of a tensor, a device or an engine. The host checks, differentiates, plans and runs what was described.
 *
 *   cc  -std=c99   -shared -fPIC -fvisibility=hidden -I core/abi/include my_loss.c -o my_loss.so
 *   c++ -std=c++11 -shared -fPIC -fvisibility=hidden -I core/abi/include my_resizer.cpp -o my_resizer.so
 *
 * Ownership.  None crosses. What the plugin hands over is copied during the call. The tables of fer_plugin_entry are static: they
 *             never change and never go away. What the host hands over is valid until the function that received it returns.
 * Texts.      UTF-8 with a NUL at the end, at most 65536 bytes. NULL is allowed only where it is said.
 * Threads.    Every function of a plugin may be called from any thread, also at the same time.
 * Exceptions. None may leave a plugin's function: a C++ plugin catches what it throws and calls fer_host::error. The host does not
 *             catch a C++ exception; it ends the process.
 * Lifetime.   A library is loaded once and never unloaded.
 *
 * Versions. FER_PLUGIN_MAJOR changes when something here changes its meaning or place; host and plugin must agree in it. With
 * FER_PLUGIN_MINOR, members are appended to the tables that say their size (fer_plugin, fer_host, fer_request, fer_component,
 * fer_option). A host ignores what it does not know at the end of a plugin's table. A plugin that wants a member of fer_host or
 * fer_request that came with a later minor version looks at struct_size first. fer_named never changes within a major version.
 */
#ifndef FER_PLUGIN_H
#define FER_PLUGIN_H

#include <stddef.h>
#include <stdint.h>

#define FER_PLUGIN_MAJOR 1u
#define FER_PLUGIN_MINOR 0u

#if defined(_WIN32)
#define FER_EXPORT __declspec(dllexport)
#elif defined(__GNUC__)
#define FER_EXPORT __attribute__((visibility("default")))
#else
#define FER_EXPORT
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* What a constant is. */
#define FER_NONE 0u   /* nothing: an option without a default */
#define FER_BOOL 1u   /* integer: 0 or 1 */
#define FER_INT 2u    /* integer */
#define FER_FLOAT 3u  /* number */
#define FER_TEXT 4u   /* text */
#define FER_INTS 5u   /* integers, count */
#define FER_FLOATS 6u /* numbers, count */

/* A constant with a name: an option's value, an attribute of an op. Only the members of its kind are looked at. */
typedef struct fer_named {
  const char *name;
  uint32_t kind;
  uint32_t reserved; /* 0 */
  int64_t integer;
  double number;
  const char *text;
  const int64_t *integers;
  const double *numbers;
  size_t count; /* of integers or numbers */
} fer_named;

/* Initialisers, as in: fer_named attributes[] = {FER_NAMED_INTS("stride", stride, 2), FER_NAMED_INT("groups", 1)}; */
#define FER_NAMED_NONE {NULL, FER_NONE, 0, 0, 0.0, NULL, NULL, NULL, 0}
#define FER_NAMED_BOOL(name, value) {(name), FER_BOOL, 0, (value), 0.0, NULL, NULL, NULL, 0}
#define FER_NAMED_INT(name, value) {(name), FER_INT, 0, (value), 0.0, NULL, NULL, NULL, 0}
#define FER_NAMED_FLOAT(name, value) {(name), FER_FLOAT, 0, 0, (value), NULL, NULL, NULL, 0}
#define FER_NAMED_TEXT(name, value) {(name), FER_TEXT, 0, 0, 0.0, (value), NULL, NULL, 0}
#define FER_NAMED_INTS(name, list, count) {(name), FER_INTS, 0, 0, 0.0, NULL, (list), NULL, (count)}
#define FER_NAMED_FLOATS(name, list, count) {(name), FER_FLOATS, 0, 0, 0.0, NULL, NULL, (list), (count)}

/* What fer_option::flags is made of. */
#define FER_HAS_MIN 1u  /* min is an inclusive bound of a number, or of every number of a list */
#define FER_HAS_MAX 2u  /* and max */
#define FER_OPTIONAL 4u /* may be left out although it has no default: the component then decides */

/* One option of a component. An option without a default that is not optional must be given by the user. */
typedef struct fer_option {
  const char *name; /* lower case letters, digits and _ */
  uint32_t kind;    /* FER_BOOL ... FER_FLOATS */
  uint32_t flags;
  fer_named initial; /* the default, whose name is not looked at; FER_NAMED_NONE where there is none */
  double min;
  double max;
  const char *const *choices; /* the words that a text may be; NULL when any will do */
  size_t choice_count;
  const char *doc; /* one or more sentences for `plugin show` */
} fer_option;

/* A value of the graph: its number, from 0; FER_ERROR when something went wrong. */
typedef int64_t fer_value;
#define FER_ERROR ((fer_value)-1)

/* The graph under construction. It belongs to the host and ends when build returns; a call with it afterwards gives FER_ERROR. */
typedef struct fer_graph fer_graph;

/*
 * What a plugin may call while it builds.
 *
 * The first error stays: after it every call gives FER_ERROR and does nothing, a value that is FER_ERROR may be handed on, and the
 * host reports that first error when build returns. So a plugin need not look at each result.
 */
typedef struct fer_host {
  size_t struct_size;
  uint32_t major;
  uint32_t minor;

  /* The tensor that the host offers under this name. Backbone, resizer: "images" [n, c, h, w]. Loss: "logits" [n, k], "targets"
     [n, k] (a distribution), "prior" [k, k], "weights" [n]. All are float. Asked twice, it is the same value. Those that nobody asks for are inputs of the graph too. */
  fer_value (*input)(fer_graph *graph, const char *name);

  /* A trained parameter, float, named below the current scope. How it starts: "zeros", "ones", "eye"; "constant" with 1 number;
     "normal" with mean and standard deviation; "trunc_normal" with these and both limits; "uniform" with both limits; "values" with
     every number, row-major. */
  fer_value (*parameter)(fer_graph *graph, const char *name, const int64_t *shape, size_t rank, const char *start,
                         const double *numbers, size_t number_count);

  /* A state: as a parameter, but not trained; `update` gives it its next value. */
  fer_value (*state)(fer_graph *graph, const char *name, const int64_t *shape, size_t rank, const char *start,
                     const double *numbers, size_t number_count);

  /* One operation of docs/ops.md, of the version given there. The first result is returned. An op with several gives all of them in
     `results`, whose `result_count` must be their number; `results` may be NULL, with 0, when only the first is wanted. */
  fer_value (*op)(fer_graph *graph, const char *op, uint32_t version, const fer_value *operands, size_t operand_count,
                  const fer_named *attributes, size_t attribute_count, fer_value *results, size_t result_count);

  /* Names a result. Backbone: "features" [n, d]. Resizer: "images" [n, c', h', w']. Loss: "loss", a scalar. 0, or -1. */
  int32_t (*output)(fer_graph *graph, const char *name, fer_value value);

  /* The value of a state after a training step; it has the state's type. 0, or -1. */
  int32_t (*update)(fer_graph *graph, fer_value state, fer_value value);

  /* 1 when this host has the op in this version, else 0: so a plugin can do without. */
  int32_t (*has_op)(const char *op, uint32_t version);

  /* The number of axes of a value, or -1. */
  int64_t (*rank)(fer_graph *graph, fer_value value);
  /* The size of an axis, -1 is the last; or -1. */
  int64_t (*size)(fer_graph *graph, fer_value value, int64_t axis);
  /* "f", "bf16", "i32", "u8" or "bool"; NULL when something went wrong. The text is static. */
  const char *(*dtype)(fer_graph *graph, fer_value value);

  /* Enters a scope below the current one, as in "blocks.0": parameters are named and errors are told below it. 0, or -1. */
  int32_t (*enter)(fer_graph *graph, const char *scope);
  /* Leaves the scope entered last. 0, or -1. */
  int32_t (*leave)(fer_graph *graph);

  /* The attribute `stream` for an op that draws random numbers, different at each call; or -1. */
  int64_t (*stream)(fer_graph *graph);

  /* Says why the component cannot be built: a phrase that fits "error: ...", the option at fault or NULL, what the user can do or
     NULL. What the plugin says first counts, even where an op failed before. Always gives 1, for `return host->error(...)`. */
  int32_t (*error)(fer_graph *graph, const char *message, const char *option, const char *help);
} fer_host;

/* "Build this component, with these options." */
typedef struct fer_request {
  size_t struct_size;
  const char *component;
  const char *kind;
  /* Checked against the schema, defaults filled in. An optional one that was left out is not in the list. */
  const fer_named *options;
  size_t option_count;
  int32_t training; /* 1: training (dropout, batch statistics); 0: evaluation */
  int32_t reserved;
} fer_request;

/* Describes the forward computation. 0 when that went well; anything else is a failure, which `error` explains. The same request
   gives the same graph. */
typedef int32_t (*fer_build)(const fer_host *host, fer_graph *graph, const fer_request *request);

/* A component as `plugin list` and `plugin show` print it. */
typedef struct fer_component {
  const char *id;      /* lower case letters, digits and -; unique among components of its kind */
  const char *kind;    /* "backbone", "resizer" or "loss" */
  const char *version; /* the component's own, as in "1.0.0" */
  const char *summary; /* one line */
  const char *doc;     /* Markdown: the paper, the equation, shapes; may be NULL */
  size_t option_size;  /* sizeof(fer_option) */
  size_t option_count;
  const fer_option *options; /* may be NULL where there are none */
  fer_build build;
} fer_component;

/* What is in a library. */
typedef struct fer_plugin {
  size_t struct_size; /* sizeof(fer_plugin) */
  uint32_t major;     /* FER_PLUGIN_MAJOR */
  uint32_t minor;     /* FER_PLUGIN_MINOR */
  size_t component_size; /* sizeof(fer_component) */
  size_t component_count;
  const fer_component *components;
} fer_plugin;

/* The one exported function. It is given the host's version and may answer NULL to one that it cannot work with. */
FER_EXPORT const fer_plugin *fer_plugin_entry(uint32_t host_major, uint32_t host_minor);

/* The value of an option, or NULL when it was left out. */
static inline const fer_named *fer_find(const fer_request *request, const char *name) {
  size_t i;
  for (i = 0; i < request->option_count; i++) {
    const char *a = request->options[i].name;
    const char *b = name;
    while (*a != '\0' && *a == *b) {
      a++;
      b++;
    }
    if (*a == *b) {
      return &request->options[i];
    }
  }
  return NULL;
}

#ifdef __cplusplus
}
#endif

#endif
