{{- define "craft.name" -}}
{{- if contains "craft-stream" .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}{{ else }}{{ printf "%s-craft-stream" .Release.Name | trunc 50 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "craft.selector" -}}
app.kubernetes.io/name: craft-stream
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "craft.labels" -}}
{{ include "craft.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- /* A TOML value: strings, numbers, booleans, lists. */ -}}
{{- define "craft.toml" -}}
{{- if kindIs "float64" . -}}
{{- if eq . (floor .) }}{{ int64 . }}{{ else }}{{ toJson . }}{{ end -}}
{{- else }}{{ toJson . }}{{ end -}}
{{- end }}

{{- /* Tables of settings, nested. */ -}}
{{- define "craft.section" -}}
[{{ .path }}]
{{ range $key, $value := .values }}{{ if not (kindIs "map" $value) }}{{ $key }} = {{ include "craft.toml" $value }}
{{ end }}{{ end }}
{{- range $key, $value := .values }}{{ if kindIs "map" $value }}
{{ include "craft.section" (dict "path" (printf "%s.%s" $.path $key) "values" $value) }}{{ end }}{{ end }}
{{- end }}

{{- /* Time to decide, commit and leave the group: a fifth of the poll interval (Settings.revoke_budget_ms), and half a minute. */ -}}
{{- define "craft.grace" -}}
{{- add 30 (div (int64 (dig "kafka" "max_poll_interval_ms" 300000 .Values.settings)) 5000) -}}
{{- end }}

{{- define "craft.group" -}}{{ dig "kafka" "group_id" "craft" .Values.settings }}{{- end }}
{{- define "craft.topic" -}}{{ dig "kafka" "input_topic" "crawl.pairs" .Values.settings }}{{- end }}

{{- /* Whole cores of the CPU limit, at least one. */ -}}
{{- define "craft.threads" -}}
{{- $limit := dig "limits" "cpu" "1" .Values.resources | toString -}}
{{- if hasSuffix "m" $limit }}{{ max 1 (div (trimSuffix "m" $limit | int) 1000) }}{{ else }}{{ max 1 (floor (float64 $limit) | int) }}{{ end -}}
{{- end }}
