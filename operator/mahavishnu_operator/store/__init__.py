"""What must survive a kill: jobs, tasks, grants, results, blobs, reports, memory, behind one protocol."""
