//! Lent to `src/addon`, whose cdylib needs the link arguments Node expects.

fn main() {
    napi_build::setup();
}
