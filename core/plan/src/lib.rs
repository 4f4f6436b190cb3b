//! Passes over a graph: inline composites, common subexpressions, dead code, lifetimes
