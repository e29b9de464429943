//! Who is it, and may they: authenticators and authorizers over a snapshot.
