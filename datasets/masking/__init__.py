"""What identifies a patient in a text: found, shown and masked before the text is stored."""
