// A learned resizer in C++11: one strided convolution for each colour, which begins as an average, or a mixing one.

#include "fer_plugin.h"

#include <exception>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

// Calls with containers instead of pointers and lengths.
class Graph {
 public:
  Graph(const fer_host *host, fer_graph *graph) : host(host), graph(graph) {}

  fer_value input(const char *name) const { return host->input(graph, name); }
  int64_t size(fer_value x, int64_t axis) const { return host->size(graph, x, axis); }
  int32_t output(const char *name, fer_value x) const { return host->output(graph, name, x); }

  fer_value parameter(const char *name, const std::vector<int64_t> &shape, const char *start,
                      const std::vector<double> &numbers) const {
    return host->parameter(graph, name, shape.data(), shape.size(), start, numbers.data(), numbers.size());
  }

  fer_value op(const char *name, const std::vector<fer_value> &operands,
               const std::vector<fer_named> &attributes) const {
    return host->op(graph, name, 1, operands.data(), operands.size(), attributes.data(), attributes.size(), nullptr, 0);
  }

 private:
  const fer_host *host;
  fer_graph *graph;
};

const fer_named &option(const fer_request *request, const char *name) {
  const fer_named *found = fer_find(request, name);
  if (found == nullptr) throw std::logic_error(std::string("the host gives no option ") + name);
  return *found;
}

int32_t describe(const fer_host *host, fer_graph *raw, const fer_request *request) {
  const Graph graph(host, raw);
  const int64_t factor = option(request, "factor").integer;
  const bool mixing = std::string(option(request, "colours").text) == "mixed";
  const fer_value images = graph.input("images");
  const int64_t channels = graph.size(images, 1);
  const int64_t height = graph.size(images, 2), width = graph.size(images, 3);
  if (height < factor || width < factor) {
    const std::string message = "factor is " + std::to_string(factor) + ", and the images are " + std::to_string(height) +
                                " x " + std::to_string(width);
    const std::string help = "a factor of at most " + std::to_string(height < width ? height : width);
    return host->error(raw, message.c_str(), "factor", help.c_str());
  }

  // [out, in / groups, factor, factor]; begins as the mean over each tile.
  const int64_t groups = mixing ? 1 : channels;
  const int64_t fan = channels / groups;
  std::vector<double> start;
  for (int64_t to = 0; to < channels; to++) {
    for (int64_t from = 0; from < fan; from++) {
      const bool same = !mixing || to == from;
      start.insert(start.end(), static_cast<size_t>(factor * factor),
                   same ? 1.0 / static_cast<double>(factor * factor) : 0.0);
    }
  }
  const fer_value weight = graph.parameter("conv.weight", {channels, fan, factor, factor}, "values", start);
  const int64_t stride[2] = {factor, factor}, none[2] = {0, 0}, one[2] = {1, 1};
  const fer_value small = graph.op("convolution", {images, weight},
                                   {FER_NAMED_INTS("stride", stride, 2), FER_NAMED_INTS("padding", none, 2),
                                    FER_NAMED_INTS("dilation", one, 2), FER_NAMED_INT("groups", groups)});
  return graph.output("images", small);
}

// Nothing thrown may leave the library.
int32_t build(const fer_host *host, fer_graph *graph, const fer_request *request) try {
  return describe(host, graph, request);
} catch (const std::exception &error) {
  return host->error(graph, error.what(), nullptr, "this is a fault of the plugin; please report it to its author");
} catch (...) {
  return host->error(graph, "an unknown exception", nullptr, nullptr);
}

const char *const COLOURS[] = {"separate", "mixed"};

const fer_option OPTIONS[] = {
    {"factor", FER_INT, FER_HAS_MIN | FER_HAS_MAX, FER_NAMED_INT("factor", 2), 1.0, 16.0, nullptr, 0,
     "How many times smaller the images become; what is left over at the right and the bottom is dropped."},
    {"colours", FER_TEXT, 0, FER_NAMED_TEXT("colours", "separate"), 0.0, 0.0, COLOURS, 2,
     "Whether each colour is made from itself alone, or from all."},
};

const fer_component COMPONENTS[] = {
    {"strided", "resizer", "1.0.0", "a learned strided convolution that begins as an average",
     "Float `[n, c, h, w]` to `[n, c, h / factor, w / factor]`: one convolution without overlap, without bias. Its first values\n"
     "average each tile, so that an untrained model sees the image smaller.",
     sizeof(fer_option), sizeof(OPTIONS) / sizeof(OPTIONS[0]), OPTIONS, build},
};

const fer_plugin PLUGIN = {sizeof(fer_plugin),    FER_PLUGIN_MAJOR, FER_PLUGIN_MINOR,
                           sizeof(fer_component), 1,                COMPONENTS};

}  // namespace

const fer_plugin *fer_plugin_entry(uint32_t host_major, uint32_t) {
  return host_major == FER_PLUGIN_MAJOR ? &PLUGIN : nullptr;
}
