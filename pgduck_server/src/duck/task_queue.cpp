// How many of DuckDB's tasks wait for a thread; its C interface does not tell. libduckdb.so exports the C++ functions.
// As in file_system.cpp, this holds for DuckDB 1.5.5, and what stands behind a `duckdb_client_context` is one reference.

#include <cstddef>

namespace duckdb {

class ClientContext;

class TaskScheduler {
public:
	static TaskScheduler &GetScheduler(ClientContext &context);
	size_t GetNumberOfTasks() const;
};

struct CClientContextWrapper {
	ClientContext &context;
};

} // namespace duckdb

extern "C" size_t pgduck_waiting_tasks(void *client_context) {
	auto &context = static_cast<duckdb::CClientContextWrapper *>(client_context)->context;
	return duckdb::TaskScheduler::GetScheduler(context).GetNumberOfTasks();
}
