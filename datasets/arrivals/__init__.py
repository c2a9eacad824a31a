"""Whatever arrives: what each file is by its content, archives unpacked safely, and one outcome for every file."""
