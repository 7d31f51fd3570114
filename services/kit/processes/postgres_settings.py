"""The settings that an embedded PostgreSQL starts with."""

from collections.abc import Mapping

from services.kit.processes.postgres_accounts import write
from services.kit.processes.postgres_folder import HOST, Folder

_SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "max_connections": "60",
    "password_encryption": "scram-sha-256",
    # A small machine that does other things besides.
    "shared_buffers": "128MB",
    "effective_cache_size": "512MB",
    "work_mem": "8MB",
    "maintenance_work_mem": "64MB",
    "huge_pages": "off",
    "jit": "off",
    "io_method": "sync",
    "random_page_cost": "1.1",
    # Parallel queries need /dev/shm, which containers keep too small for them.
    "max_parallel_workers_per_gather": "0",
    "max_parallel_maintenance_workers": "0",
    # A reported commit survives a crash of the machine.
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "max_wal_size": "1GB",
    "min_wal_size": "128MB",
    "checkpoint_timeout": "15min",
    "wal_buffers": "16MB",
    # Most tables only grow: vacuum and analyse them by what was added, early and in small steps.
    "autovacuum_naptime": "30s",
    "autovacuum_max_workers": "2",
    "autovacuum_vacuum_scale_factor": "0.05",
    "autovacuum_vacuum_insert_scale_factor": "0.05",
    "autovacuum_analyze_scale_factor": "0.02",
    "autovacuum_vacuum_cost_limit": "1000",
    # Notice a client that died in the middle of a long query.
    "client_connection_check_interval": "2s",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "lc_messages": "C",
    "log_line_prefix": "%m [%p] %a ",
    "log_checkpoints": "off",
    # Statements and rows hold what people wrote; the log must not.
    "log_error_verbosity": "terse",
    "log_min_error_statement": "panic",
}


def write_settings(folder: Folder, options: Mapping[str, str]) -> None:
    """Write what the server reads at its start; `options` adds to our settings or replaces them."""
    values = {
        **_SETTINGS,
        "hba_file": str(folder.access),
        **options,
    }
    lines = [f"{name} = '{value.replace(chr(39), chr(39) * 2)}'" for name, value in values.items()]
    lines.append("include 'local.conf'")
    if not folder.own_settings.exists():
        note = "# Settings of your own: read last, never overwritten.\n"
        write(folder.own_settings, note, mode=0o644)
    write(folder.config, "\n".join(lines) + "\n", mode=0o644)
    rule = f"all {HOST}/32 scram-sha-256"
    write(folder.access, f"host all {rule}\nhost replication {rule}\n", mode=0o644)
