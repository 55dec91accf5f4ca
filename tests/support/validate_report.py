#!/usr/bin/python3
"""usage: validate_report.py SCHEMA REPORT

Validates a JSON report against a JSON Schema (draft 2020-12). Prints every violation; exit code 1 when there is one,
77 when python3-jsonschema is not installed.
"""
import json
import sys

try:
    import jsonschema
except ImportError:
    print("python3-jsonschema is not installed: nothing was validated")
    sys.exit(77)


def main(schema_path, report_path):
    with open(schema_path, encoding="utf-8") as file:
        schema = json.load(file)
    with open(report_path, encoding="utf-8") as file:
        report = json.load(file)
    jsonschema.Draft202012Validator.check_schema(schema)
    errors = sorted(jsonschema.Draft202012Validator(schema).iter_errors(report), key=lambda error: list(map(str, error.path)))
    for error in errors:
        print("/".join(map(str, error.path)) or "(report)", "-", error.message[:300])
    sys.exit(1 if errors else 0)


if len(sys.argv) != 3:
    sys.exit(__doc__)
main(*sys.argv[1:])
