"""One thin entry point a pipeline: `python -m weighted_mtp.pipelines.run_<pipeline> --config FILE`."""
