//! What each kind is: its fields, defaults, validation, patches, columns and published documents.
