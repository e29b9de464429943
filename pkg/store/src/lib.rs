//! The state of the cluster: revisions, proposals, views and watches over SlateDB.
