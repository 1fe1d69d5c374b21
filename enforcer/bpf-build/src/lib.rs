//! Finds the toolchain for the BPF programs and builds them.
