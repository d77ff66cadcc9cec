//! System calls that `nix` does not wrap. The only room with `unsafe`; every function takes and returns safe types.
