// Running a statement with the plan that preparing it has made.
//
// DuckDB's C interface runs statements in two steps, prepare and execute, and DuckDB binds and plans a statement that
// reads files in both of them (`always_require_rebind`), since the files may have changed in between. If nothing is in
// between, that is half the time of a small query, and of every remote file a second round of requests. Only the C++
// interface runs a statement in one step. So the flag is taken away for the first run of a statement that has just been
// prepared, and put back for later ones; whether a catalog has changed DuckDB still finds out by itself.
//
// The structures are those of DuckDB 1.5.5, the version that Cargo.toml pins: capi_internal.hpp,
// prepared_statement.hpp, prepared_statement_data.hpp, statement_type.hpp. Before anything is changed, all that the C
// interface tells about the statement is compared with what is found here; if it differs, the flag stays.
// The tests are in fresh_plan.rs.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

namespace {

struct Opaque {};

struct LogicalType {
	uint8_t id;
	uint8_t physical_type;
	std::shared_ptr<Opaque> info;
};

struct StatementProperties {
	std::unordered_map<std::string, Opaque> read_databases;
	std::unordered_map<std::string, Opaque> modified_databases;
	uint8_t requires_valid_transaction;
	uint8_t output_type;
	uint8_t bound_all_parameters;
	uint8_t return_type;
	uint64_t parameter_count;
	uint8_t always_require_rebind;
};

struct PreparedStatementData {
	uint8_t statement_type;
	Opaque *unbound_statement;
	Opaque *physical_plan;
	std::vector<std::string> names;
	std::vector<LogicalType> types;
	StatementProperties properties;
};

struct PreparedStatement {
	std::shared_ptr<Opaque> context;
	std::shared_ptr<PreparedStatementData> data;
};

struct PreparedStatementWrapper {
	std::unordered_map<std::string, Opaque> values;
	PreparedStatement *statement;
};

} // namespace

// Sets the flag of a prepared statement, which has the given number of parameters and of columns, if the flag is the
// opposite; says whether it has.
extern "C" bool pgduck_set_rebind(void *prepared_statement, bool rebind, size_t parameters, size_t columns) {
	const auto *statement = static_cast<PreparedStatementWrapper *>(prepared_statement)->statement;
	if (!statement || !statement->data) {
		return false;
	}
	auto &data = *statement->data;
	auto &properties = data.properties;
	const bool is_understood = data.unbound_statement && data.physical_plan && data.names.size() == columns &&
	                           data.types.size() == columns && properties.parameter_count == parameters &&
	                           properties.requires_valid_transaction <= 1 && properties.output_type <= 1 &&
	                           properties.bound_all_parameters == 1 && properties.return_type <= 2 &&
	                           properties.always_require_rebind <= 1;
	if (!is_understood || properties.always_require_rebind == rebind) {
		return false;
	}
	properties.always_require_rebind = rebind;
	return true;
}
