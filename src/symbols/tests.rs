//! Tests of names, origins and presentation; addresses of this very binary.
