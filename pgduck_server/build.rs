//! Compiles the C++ that reaches what DuckDB's C interface does not offer, and lets the binary find `libduckdb.so`:
//! beside itself, in `../lib`, or where it was linked from.

const SOURCES: [&str; 3] = [
    "src/duck/file_system.cpp",
    "src/duck/fresh_plan.cpp",
    "src/duck/task_queue.cpp",
];

fn main() {
    for source in SOURCES {
        println!("cargo:rerun-if-changed={source}");
    }
    println!("cargo:rerun-if-env-changed=DUCKDB_LIB_DIR");
    cc::Build::new()
        .cpp(true)
        .std("c++11")
        .files(SOURCES)
        .compile("pgduck_duckdb");
    println!("cargo:rustc-link-arg-bins=-Wl,-rpath,$ORIGIN:$ORIGIN/../lib");
    if let Ok(dir) = std::env::var("DUCKDB_LIB_DIR") {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{dir}");
    }
}
