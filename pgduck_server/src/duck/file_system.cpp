// Removing a file through DuckDB's virtual file system. DuckDB's C interface opens, reads and writes files but does not
// remove any, and no SQL function does (1.5.5). libduckdb.so exports the C++ functions that do it; its headers are not
// part of the prebuilt package, so the few names that are needed are declared here.
//
// This holds for DuckDB 1.5.5, the version that Cargo.toml pins. What it relies on, to be checked with another version:
//
// * the exported symbols (a missing one is an error of the linker);
// * `CClientContextWrapper` (capi_internal.hpp): what stands behind a `duckdb_client_context` is one reference;
// * `FileSystem::GetFileSystem(ClientContext &)` returns an `OpenerFileSystem`;
// * `optional_ptr` (optional_ptr.hpp) is one pointer without a copy constructor, and so passed in a register.
//
// The classes have no virtual functions here, on purpose: calls go to the exported symbols, and nothing depends on the
// layout of an object. The tests are in remove_file.rs.

#include <cstddef>
#include <cstring>
#include <exception>
#include <string>

namespace duckdb {

class FileOpener;

template <class T, bool SAFE = true>
class optional_ptr {
public:
	T *pointer;
};

class ClientContext {
public:
	bool IsInterrupted() const;
};

class FileSystem {
public:
	static FileSystem &GetFileSystem(ClientContext &context);
};

class OpenerFileSystem : public FileSystem {
public:
	bool DirectoryExists(const std::string &path, optional_ptr<FileOpener> opener);
	void RemoveFile(const std::string &path, optional_ptr<FileOpener> opener);
};

struct CClientContextWrapper {
	ClientContext &context;
};

} // namespace duckdb

// The results of `pgduck_remove_file`, as in remove_file.rs.
enum { REMOVED = 0, IS_DIRECTORY = 1, INTERRUPTED = 2, FAILED = 3 };

// Removes the file at `path`. If that fails, `error` is set to the text of the exception, to be freed with `free`.
// `check_directory` says whether `path` could be a directory: the local file system would remove an empty one.
extern "C" int pgduck_remove_file(void *client_context, const char *path, size_t length, bool check_directory,
                                  char **error) {
	try {
		auto &context = static_cast<duckdb::CClientContextWrapper *>(client_context)->context;
		if (context.IsInterrupted()) {
			return INTERRUPTED;
		}
		auto &files = static_cast<duckdb::OpenerFileSystem &>(duckdb::FileSystem::GetFileSystem(context));
		const std::string name(path, length);
		const duckdb::optional_ptr<duckdb::FileOpener> no_opener {nullptr};
		if (check_directory && files.DirectoryExists(name, no_opener)) {
			return IS_DIRECTORY;
		}
		files.RemoveFile(name, no_opener);
		return REMOVED;
	} catch (const std::exception &exception) {
		*error = strdup(exception.what());
	} catch (...) {
		*error = strdup("unknown exception");
	}
	return FAILED;
}

extern "C" void duckdb_destroy_file_handle(void **file_handle);

// Destroys a file handle. DuckDB's function closes the file once more, and lets the exception out if an upload has failed
// before (1.5.5); then the handle, without its buffers, is not freed.
extern "C" void pgduck_destroy_file_handle(void **file_handle) {
	try {
		duckdb_destroy_file_handle(file_handle);
	} catch (...) {
		*file_handle = nullptr;
	}
}
