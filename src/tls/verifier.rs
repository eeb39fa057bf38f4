//! Translates the verdict of the gate for rustls, once the key is proven.
