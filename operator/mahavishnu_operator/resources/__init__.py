"""Reading, writing and watching WorkerPools and ScanJobs, on Kubernetes or in one process."""
