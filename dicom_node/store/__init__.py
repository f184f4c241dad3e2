"""All that must survive a power cut: tables, migrations, instance files."""
