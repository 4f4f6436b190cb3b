//! The workspace's program: run, resolve, graph, trace, bench and data audits
