"""The command line, a module a group of commands; `services.cli` puts them together."""
