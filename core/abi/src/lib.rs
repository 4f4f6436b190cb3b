//! What crosses the dynamic-library boundary: plain data and tables of extern C functions
