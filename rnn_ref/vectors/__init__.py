"""Cases with expected values and bounds as files, for programs in any language."""
