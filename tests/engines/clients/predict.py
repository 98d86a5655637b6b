"""Ask every protocol by the client that openapi-generator has made as the package `made`."""

import sys

import made

client = made.ApiClient(made.Configuration(host=sys.argv[1]))
own, row = made.PassfailApi(client), made.Row(gre=700, gpa=3.5, rank="1")
x = made.Input(name="x", shape=[1, 3], datatype="FP64", data=[700, 3.5, 0])
one = own.predict_post(made.Rows(row)).actual_instance
again, _ = own.predict_post(made.Rows([row, row])).actual_instance
why = own.explain_post(made.Rows(row)).actual_instance
(invoked,) = made.MLflowAndSageMakerApi(client).invocations_post(made.Invocation(instances=[row])).predictions
(vertex,) = made.VertexAIApi(client).vertex_post(made.Prediction(instances=[row])).predictions
v2 = made.OpenInferenceProtocolApi(client)
outputs = v2.v2_models_name_infer_post("admissions", made.Inference(inputs=[x])).outputs
assert one == invoked == vertex == again
assert (why.logit, why.explanation["threshold"]) == (one.logit, 0)
assert {output.name: output.data for output in outputs}["logit"] == [one.logit]
assert own.health_ready_get().ready
try:
    own.predict_post(made.Rows(made.Row(gre=1e308, gpa=1e308, rank="1")))
except made.ApiException as error:
    refused = error
assert [(problem.pointer, refused.status) for problem in refused.data.errors] == [("$", 422)]
print(one.label)
