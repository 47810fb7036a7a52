"""Delta Lake tables that deltalake cannot write: its logs are changed after it wrote them."""

from __future__ import annotations

import base64
import json
import string
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

Z85 = string.digits + string.ascii_letters + ".-:+=^!/*?&<>()[]{}@%$#"
B85 = string.digits + string.ascii_uppercase + string.ascii_lowercase + "!#$%&()*+-;<=>?@^_`{|}~"


def changed(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change each entry of the first version's log."""
    path = folder / "_delta_log" / f"{0:020d}.json"
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    for entry in entries:
        change(entry)
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))


def vector(*rows: int) -> dict[str, Any]:
    """A deletion vector that marks these rows. Source: the Delta transaction log protocol, "Deletion Vector Format"."""
    bitmap = struct.pack("<IIHHI", 12346, 1, 0, len(rows) - 1, 16) + struct.pack(f"<{len(rows)}H", *rows)
    stored = struct.pack("<IQI", 1681511377, 1, 0) + bitmap
    text = base64.b85encode(stored + b"\0" * (-len(stored) % 4)).decode().translate(str.maketrans(B85, Z85))
    return {"storageType": "i", "pathOrInlineDv": text, "sizeInBytes": len(stored), "cardinality": len(rows)}


def asks(feature: str, **settings: str) -> Callable[[dict[str, Any]], None]:
    """What makes a log entry ask its readers for a feature, with these settings of the table."""

    def change(entry: dict[str, Any]) -> None:
        if "protocol" in entry:
            names = [feature, "timestampNtz"]
            entry["protocol"] = {
                "minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": names, "writerFeatures": names,
            }  # fmt: skip
        if "metaData" in entry:
            entry["metaData"]["configuration"] = {f"delta.{key}": value for key, value in settings.items()}
            schema = json.loads(entry["metaData"]["schemaString"])
            for number, column in enumerate(schema["fields"]):
                name, place = "delta.columnMapping.physicalName", "delta.columnMapping.id"
                column["metadata"] = {name: f"col-{number}", place: number} if feature == "columnMapping" else {}
            entry["metaData"]["schemaString"] = json.dumps(schema)

    return change
