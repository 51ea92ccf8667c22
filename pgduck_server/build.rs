//! Compiles the C++ that reaches DuckDB's file system, and lets the binary find `libduckdb.so`: beside itself, in
//! `../lib`, or where it was linked from.

const FILE_SYSTEM: &str = "src/duck/file_system.cpp";

fn main() {
    println!("cargo:rerun-if-changed={FILE_SYSTEM}");
    println!("cargo:rerun-if-env-changed=DUCKDB_LIB_DIR");
    cc::Build::new()
        .cpp(true)
        .std("c++11")
        .file(FILE_SYSTEM)
        .compile("pgduck_file_system");
    println!("cargo:rustc-link-arg-bins=-Wl,-rpath,$ORIGIN:$ORIGIN/../lib");
    if let Ok(dir) = std::env::var("DUCKDB_LIB_DIR") {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{dir}");
    }
}
