//! The loops that make the cluster what its objects ask for, a module a controller.
