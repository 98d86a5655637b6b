"""A Parquet file on a real local Spark, Ray or Dask, by an interpreter that has it."""

import sys
from pathlib import Path


def on_spark(export: str, rows: str, out: str) -> None:
    from pyspark.sql import SparkSession

    from passfail import spark

    session = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false").getOrCreate()
    spark.score(session.read.parquet(rows), export).write.parquet(out)


def sql_on_spark(query: str, rows: str, out: str) -> None:
    """Run a query's file over the table applicants."""
    from pyspark.sql import SparkSession

    session = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false").getOrCreate()
    session.read.parquet(rows).createOrReplaceTempView("applicants")
    session.sql(Path(query).read_text()).write.parquet(out)


def on_ray(export: str, rows: str, out: str) -> None:
    import ray

    import passfail.ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    passfail.ray.score(ray.data.read_parquet(rows), export, concurrency=1).write_parquet(out)


def on_dask(export: str, rows: str, out: str) -> None:
    import dask.dataframe

    import passfail.dask

    passfail.dask.score(dask.dataframe.read_parquet(rows, split_row_groups=True), export).to_parquet(out)


if __name__ == "__main__":
    {"spark": on_spark, "sql": sql_on_spark, "ray": on_ray, "dask": on_dask}[sys.argv[1]](*sys.argv[2:])
