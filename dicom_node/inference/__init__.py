"""The plug-in machinery: Task protocol, manifest, registry, device."""
