//! Puts `entropy.c` before the C library, so that a seed decides everything that looks random.

fn main() {
    let objects = cc::Build::new()
        .file("src/entropy.c")
        .warnings_into_errors(true)
        .compile_intermediates();
    for object in objects {
        println!("cargo::rustc-link-arg-bins={}", object.display());
    }
    // Some look it up by name while they run.
    println!("cargo::rustc-link-arg-bins=-Wl,--export-dynamic-symbol=getrandom");
    println!("cargo::rerun-if-changed=src/entropy.c");
}
