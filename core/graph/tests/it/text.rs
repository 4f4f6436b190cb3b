//! The text form: what it looks like, and what is said of text that is wrong.

use fer_graph::{Builder, DType, Init, Positions, PrintOptions, TensorType, ops::Window, parse, print, renumber};

fn small() -> fer_graph::Graph {
    let b = Builder::new("train");
    let images = b.input("images", TensorType::new(DType::U8, [8, 1, 48, 48])).unwrap();
    let loss;
    {
        let _resizers = b.scope("resizers.1");
        let x = b.convert(images, DType::Float).unwrap();
        let kernel = b.parameter("conv.weight", &[16, 1, 7, 7], Init::Uniform { low: -0.5, high: 0.5 }).unwrap();
        let window = Window { padding: [3, 3], ..Window::default() };
        let y = b.convolution(x, kernel, window).unwrap();
        let weight = b.parameter("bn.weight", &[16], Init::Ones).unwrap();
        let bias = b.parameter("bn.bias", &[16], Init::Zeros).unwrap();
        b.edit_argument(bias, |a| a.frozen = true);
        let mean = b.state("bn.running_mean", &[16], Init::Zeros).unwrap();
        let var = b.state("bn.running_var", &[16], Init::Ones).unwrap();
        let [y, new_mean, new_var] = b.batch_norm_training([y, weight, bias, mean, var], 1e-5, 0.1).unwrap();
        b.update(mean, new_mean).unwrap();
        b.update(var, new_var).unwrap();
        b.name("features", y);
        let _layer = b.layer(3);
        let places = Positions::Distances { rows: 1, columns: 1 };
        b.position_table("distances", &[1, 2], places, Init::Zeros).unwrap();
        let places = Positions::Tokens { prefix: 1, rows: 1, columns: 2 };
        b.position_table("places", &[1, 3, 2], places, Init::Zeros).unwrap();
        let table =
            b.parameter_without_decay("table", &[2, 2], Init::Values(vec![0.0, 1.0, 2.5, -3.0].into())).unwrap();
        let total = b.reduce_sum(y, &[0, 1, 2, 3]).unwrap();
        loss = b.add(total, b.reduce_sum(table, &[0, 1]).unwrap()).unwrap();
    }
    let ramp = b.constant(&[20], (0..20).map(f64::from).collect::<Vec<_>>()).unwrap();
    let loss = b.add(loss, b.reduce_sum(ramp, &[0]).unwrap()).unwrap();
    b.output("loss", loss);
    b.output("the ramp", ramp);
    b.finish()
}

#[test]
fn a_graph_reads_like_this() {
    insta::assert_snapshot!(print(&small(), PrintOptions::READABLE), @r#"
    # Long constants are left out: this text does not parse back.
    graph train(images: u8[8,1,48,48]) {
      parameter resizers.1.conv.weight: f[16,1,7,7] = uniform(-0.5, 0.5)
      parameter resizers.1.bn.weight: f[16] = ones
      parameter resizers.1.bn.bias: f[16] = zeros frozen
      state resizers.1.bn.running_mean: f[16] = zeros
      state resizers.1.bn.running_var: f[16] = ones
      parameter resizers.1.distances: f[1,2] = zeros no_decay layer(3) distances(1, 1)
      parameter resizers.1.places: f[1,3,2] = zeros no_decay layer(3) tokens(1, 1, 2)
      parameter resizers.1.table: f[2,2] = values(0.0, 1.0, 2.5, -3.0) no_decay layer(3)
      scope resizers.1
        %0 = convert(images) {dtype: "f"} : f[8,1,48,48]
        %1 = convolution(%0, resizers.1.conv.weight) {stride: [1, 1], padding: [3, 3], dilation: [1, 1], groups: 1} : f[8,16,48,48]   # 28.9 MFLOP
        %2, %3, %4 = batch_norm_training(%1, resizers.1.bn.weight, resizers.1.bn.bias, resizers.1.bn.running_mean, resizers.1.bn.running_var) {epsilon: 1e-5, momentum: 0.1} : f[8,16,48,48], f[16], f[16]   # 2.7 MFLOP
        %5 = reduce_sum(%2) {axes: [0, 1, 2, 3]} : f[]
        %6 = reduce_sum(resizers.1.table) {axes: [0, 1]} : f[]
        %7 = add(%5, %6) : f[]
      scope ""
        %8 = constant() {value: [... 20 numbers], shape: [20]} : f[20]
        %9 = reduce_sum(%8) {axes: [0]} : f[]
        %10 = add(%7, %9) : f[]
      output loss = %10
      output "the ramp" = %8
      update resizers.1.bn.running_mean = %3
      update resizers.1.bn.running_var = %4
      name resizers.1.features = %2
    }
    "#);
}

#[test]
fn text_parses_back() {
    let graph = small();
    let text = print(&graph, PrintOptions::EXACT);
    let parsed = parse(&text).unwrap();
    assert_eq!(parsed, renumber(&graph));
    assert_eq!(print(&parsed, PrintOptions::EXACT), text);
}

#[test]
fn text_without_its_constants_says_so() {
    let text = print(&small(), PrintOptions::READABLE);
    let error = parse(&text).unwrap_err();
    assert_eq!(
        error.to_string(),
        "line 19, column 30: the numbers were left out when this was printed; print it with all of them"
    );
}

/// `(text, message)`; the graph's head is `graph g(x: f[2,3], n: i32[2]) {`.
const WRONG: &[(&str, &str)] = &[
    ("", "line 3, column 1: expected a node (`%0 = ...`), scope, output, update, name or `}`, found the end"),
    ("%1 = negate(x) : f[2,3]", "line 2, column 2: results are numbered in order: expected %0, found %1"),
    ("%0 = negat(x) : f[2,3]", "line 2, column 6: no op is called \"negat\"; did you mean \"negate\"?"),
    ("%0 = negate(y) : f[2,3]", "line 2, column 13: no argument is called \"y\""),
    ("%0 = negate(%0) : f[2,3]", "line 2, column 13: %0 is used before it is defined"),
    ("%0 = negate(x : f[2,3]", "line 2, column 15: expected `,` or `)`, found `:`"),
    ("%0 = negate(x) : f[3,2]", "line 2, column 18: negate gives f[2,3], the text says f[3,2]"),
    ("%0 = negate(x) : g[2,3]", "line 2, column 18: expected an element type (f, bf16, i32, u8, bool), found \"g\""),
    ("%0, %1 = negate(x) : f[2,3], f[]", "line 2, column 1: negate gives 1 results, 2 are numbered"),
    ("%0 = negate(n) : i32[2]", "negate: x must be float, found i32[2] (line 2, column 6) (negate_c1)"),
    (
        "%0 = softmax(x) {axes: 1} : f[2,3]",
        "line 2, column 18: softmax has no attribute \"axes\"; did you mean \"axis\"?; it has [axis]",
    ),
    ("%0 = softmax(x) {axis: 1.5} : f[2,3]", "line 2, column 24: expected an integer, found \"1.5\""),
    ("%0 = softmax(x) {axis: 1, axis: 1} : f[2,3]", "line 2, column 27: softmax has attribute \"axis\" twice"),
    ("%0 = convert(x) {dtype: \"i32} : f[2,3]", "line 2, column 39: expected `\"`, the text ends here"),
    ("%0 = convert(x) {dtype: \"\\q\"} : f[2,3]", "line 2, column 26: expected an escape such as \\n or \\u{e9}"),
    ("%0 = negate(x) : f[2,3] %1 = negate(x) : f[0]", "line 2, column 42: f[0] is empty or too large"),
    (
        "output y = x parameter w: f[1] = zeros }",
        "line 2, column 14: expected a node (`%0 = ...`), scope, output, update, name or `}`, found \"parameter\"; \
         parameters and states come before the first node",
    ),
    ("parameter x: f[1] = zeros }", "line 2, column 11: \"x\" is declared twice"),
    ("parameter w: f[1] }", "line 2, column 11: \"w\" is a parameter without an initialisation"),
    ("parameter w: f[3] = values(1, 2) }", "line 2, column 11: \"w\" is f[3] and starts from 2 values"),
    ("parameter w: f[3] = uniform(1) }", "line 2, column 21: initialisation \"uniform\" does not take 1 numbers"),
    ("update x = x }", "graph \"g\": there is no state or parameter \"x\" to update (update)"),
    ("name a = x name a = n }", "line 2, column 12: \"a\" is named twice"),
    ("} }", "line 2, column 3: expected nothing after the graph, found `}`"),
];

#[test]
fn errors_say_where_and_what() {
    for (body, message) in WRONG {
        let error = parse(&format!("graph g(x: f[2,3], n: i32[2]) {{\n{body}\n")).expect_err(body);
        assert_eq!(error.to_string(), *message, "{body}");
    }
    assert_eq!(parse("").unwrap_err().to_string(), "line 1, column 1: expected `graph`, found the end");
    assert_eq!(parse("é").unwrap_err().to_string(), "line 1, column 1: expected `graph`, found `é`");
}

#[test]
fn comments_and_blanks_mean_nothing() {
    let tight = parse("graph g(x:f[2]){%0=negate(x):f[2] output y=%0}").unwrap();
    let loose =
        parse("# one\ngraph g ( x : f [ 2 ] ) # two\n{\n\n%0 = negate ( x ) : f [ 2 ]\noutput y = %0 # three\n}#")
            .unwrap();
    assert_eq!(tight, loose);
}

#[test]
fn numbers_keep_their_bits() {
    let values =
        [0.0, -0.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, f64::MIN_POSITIVE, 5e-324, f64::MAX, 0.1, 1e300];
    let b = Builder::new("g");
    let x = b.constant(&[values.len()], values.to_vec()).unwrap();
    b.output("x", x);
    let graph = b.finish();
    let parsed = parse(&print(&graph, PrintOptions::EXACT)).unwrap();
    assert!(parsed.nodes[0].attributes.same(&graph.nodes[0].attributes));
}
