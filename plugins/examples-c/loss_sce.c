/* Symmetric cross entropy (Wang et al. 2019), a loss in C99. */

#include "fer_plugin.h"

static fer_value op1(const fer_host *host, fer_graph *graph, const char *name, fer_value x) {
  return host->op(graph, name, 1, &x, 1, NULL, 0, NULL, 0);
}

static fer_value op2(const fer_host *host, fer_graph *graph, const char *name, fer_value a, fer_value b) {
  const fer_value operands[2] = {a, b};
  return host->op(graph, name, 1, operands, 2, NULL, 0, NULL, 0);
}

/* A number as a value of this shape. */
static fer_value filled(const fer_host *host, fer_graph *graph, double number, const int64_t *shape, size_t rank) {
  const fer_named attributes[2] = {FER_NAMED_FLOATS("value", &number, 1), FER_NAMED_INTS("shape", shape, rank)};
  return host->op(graph, "constant", 1, NULL, 0, attributes, 2, NULL, 0);
}

static fer_value sum(const fer_host *host, fer_graph *graph, fer_value x, int64_t axis) {
  const fer_named attributes[1] = {FER_NAMED_INTS("axes", &axis, 1)};
  return host->op(graph, "reduce_sum", 1, &x, 1, attributes, 1, NULL, 0);
}

static int32_t build(const fer_host *host, fer_graph *graph, const fer_request *request) {
  const double alpha = fer_find(request, "alpha")->number;
  const double beta = fer_find(request, "beta")->number;
  const double floor = fer_find(request, "log_zero")->number;
  fer_value logits, targets, weights, log_p, p, log_t, forward, backward, loss;
  int64_t shape[2];
  fer_named axis[1] = {FER_NAMED_INT("axis", 1)};

  if (alpha == 0.0 && beta == 0.0) {
    return host->error(graph, "alpha and beta are both 0, so nothing would be learned", "beta", "beta: 1.0");
  }
  logits = host->input(graph, "logits");
  targets = host->input(graph, "targets");
  weights = host->input(graph, "weights");
  shape[0] = host->size(graph, logits, 0);
  shape[1] = host->size(graph, logits, 1);
  log_p = host->op(graph, "log_softmax", 1, &logits, 1, axis, 1, NULL, 0); /* [n, k] */
  p = op1(host, graph, "exponential", log_p);
  /* log max(t, e^log_zero): a target of 0 counts as log_zero, as in the paper. */
  log_t = op1(host, graph, "log", op2(host, graph, "maximum", targets, filled(host, graph, 1e-30, shape, 2)));
  log_t = op2(host, graph, "maximum", log_t, filled(host, graph, floor, shape, 2));
  forward = op2(host, graph, "multiply", op2(host, graph, "multiply", targets, log_p),
                filled(host, graph, -alpha, shape, 2));
  backward = op2(host, graph, "multiply", op2(host, graph, "multiply", p, log_t), filled(host, graph, -beta, shape, 2));
  loss = sum(host, graph, op2(host, graph, "add", forward, backward), 1); /* [n] */
  loss = sum(host, graph, op2(host, graph, "multiply", loss, weights), 0);
  loss = op2(host, graph, "multiply", loss, filled(host, graph, 1.0 / (double)shape[0], NULL, 0));
  return host->output(graph, "loss", loss);
}

static const fer_option OPTIONS[] = {
    {"alpha", FER_FLOAT, FER_HAS_MIN, FER_NAMED_FLOAT("alpha", 0.1), 0.0, 0.0, NULL, 0,
     "Weight of the cross entropy of predictions under the targets."},
    {"beta", FER_FLOAT, FER_HAS_MIN, FER_NAMED_FLOAT("beta", 1.0), 0.0, 0.0, NULL, 0,
     "Weight of the reverse: the cross entropy of targets under the predictions."},
    {"log_zero", FER_FLOAT, FER_HAS_MIN | FER_HAS_MAX, FER_NAMED_FLOAT("log_zero", -4.0), -60.0, -1.0, NULL, 0,
     "What the logarithm of a target of 0 counts as."},
};

static const fer_component COMPONENTS[] = {
    {"sce", "loss", "1.0.0", "symmetric cross entropy",
     "Robust to wrong labels (Wang et al. 2019, \"Symmetric Cross Entropy for Robust Learning with Noisy Labels\").\n\n"
     "`- alpha sum_c t_c log p_c - beta sum_c p_c max(log t_c, log_zero)`, mean over the batch.",
     sizeof(fer_option), sizeof(OPTIONS) / sizeof(OPTIONS[0]), OPTIONS, build},
};

static const fer_plugin PLUGIN = {sizeof(fer_plugin),    FER_PLUGIN_MAJOR, FER_PLUGIN_MINOR,
                                  sizeof(fer_component), 1,                COMPONENTS};

const fer_plugin *fer_plugin_entry(uint32_t host_major, uint32_t host_minor) {
  (void)host_minor;
  return host_major == FER_PLUGIN_MAJOR ? &PLUGIN : NULL;
}
