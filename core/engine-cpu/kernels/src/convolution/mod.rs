//! Convolutions, forward and backward.
