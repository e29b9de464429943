//! The commands of knarr ctl, and how they print.
