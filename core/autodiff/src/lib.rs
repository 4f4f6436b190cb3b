//! Reverse-mode differentiation of a graph into a joint graph
